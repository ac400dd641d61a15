"""A source set that is built in a fraction of a second: pictures and volumes of random shapes."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image

ENTITIES = {1: "liver", 2: "spleen"}


def small_source(root: Path, pictures: int = 8, volumes: int = 4, seed: int = 0, size: int = 32) -> Path:
    """ROOT/images and ROOT/masks with labels.json; "p00_0.png" is a picture of patient "p00"."""
    rng = np.random.default_rng(seed)
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for number in range(pictures):
        name = f"p{number // 2:02d}_{number % 2}.png"
        Image.fromarray(rng.integers(0, 255, (size, size + 8), dtype=np.uint8)).save(root / "images" / name)
        Image.fromarray(two_boxes(rng, (size, size + 8))).save(root / "masks" / name)
    for number in range(volumes):
        name = f"v{number:02d}_0.nii.gz"
        save_volume(rng.integers(-200, 300, (size, size + 8, 6)).astype(np.int16), root / "images" / name)
        labels = np.stack([two_boxes(rng, (size, size + 8)) for _ in range(6)], axis=2)
        save_volume(labels, root / "masks" / name)
    about = {"modality": "CT", "labels": {str(v): e for v, e in ENTITIES.items()}, "patient": "(.+)_"}
    (root / "labels.json").write_text(json.dumps(about))
    return root


def two_boxes(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """A label map uint8 with 1 somewhere on the left and 2 somewhere on the right."""
    labels = np.zeros(shape, np.uint8)
    for value in ENTITIES:
        y, x = rng.integers(0, shape[0] - 12), rng.integers(0, shape[1] // 2 - 12)
        labels[y : y + 10, x + (value - 1) * shape[1] // 2 :][:, : rng.integers(6, 11)] = value
    return labels


def save_volume(values: np.ndarray, file: Path) -> None:
    """NIfTI of 1 x 1 x 3 mm."""
    nib.save(nib.Nifti1Image(values, np.diag([1, 1, 3, 1])), file)


def contents(folder: Path) -> dict[str, bytes]:
    """Path below `folder` -> bytes, of all files."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
