"""Fits the out-of-domain score of weights, and measures it on images like those of training and on images of other kinds.

    python benchmarks/out_of_domain.py --dataset runs/real/set --weights monai_mimo/models/trained/lite --phantom PHANTOM \
        [--pictures FOLDER ...]

The score is fitted on training images, as they are and moved, with other contrast and brightness, as training shows them; its
limit is set on validation images, as they are and changed likewise. The table is made on test images, on those of a built set of
phantoms (`make train` makes runs/phantom/dataset), on skimage's sample pictures, and on any folder of pictures or of one DICOM
series. None of them takes part in the fit. domain.safetensors is written beside the weights.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import skimage
import torch
from datasets import Dataset as Rows
from monai.transforms import Compose, RandAdjustContrast, RandScaleIntensity
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor
from tqdm import tqdm

from monai_mimo.calibration.domain import ImageDomain, summary
from monai_mimo.data.dataset import rows_by_image
from monai_mimo.mimoseg import load_mimoseg
from monai_mimo.models import Mimo
from monai_mimo.transforms import MedicalImage, SquareResize
from monai_mimo.transforms.augment import MIRRORS, RandMove

PICTURES = (".png", ".jpg", ".jpeg")


class Changes:
    """Moves, contrast and brightness of images [3, S, S] in 0..1, drawn from a seed. No noise: it is of all changes the one that
    the finest maps show best, and would hide what they tell apart."""

    def __init__(self, seed: int = 0) -> None:
        self.move = RandMove().set_random_state(seed)
        self.light = Compose([RandAdjustContrast(prob=0.7, gamma=(0.7, 1.4)), RandScaleIntensity(0.15, prob=0.5)])
        self.light.set_random_state(seed)

    def __call__(self, image: Tensor, modality: str) -> Tensor:
        whole = torch.ones(1, *image.shape[1:], dtype=torch.bool)
        moved, _ = self.move(image, whole, MIRRORS.get(modality, (False, False)))
        return torch.as_tensor(np.asarray(self.light(moved))).float().clamp(0, 1)


@torch.no_grad()
def summarise(model: Mimo, images: Iterable[Tensor]) -> Tensor:
    """[n, F] of images [3, S, S]."""
    found = []
    for image in images:
        maps = model.encoder_maps(image[None])
        found.append(summary(maps, model.features(maps))[0])
    return torch.stack(found)


def square(model: Mimo, pixels: np.ndarray) -> Tensor:
    """uint8 [h, w] or [h, w, 3] as the model sees it."""
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    return SquareResize(*pixels.shape[:2], model.config.image_size).image(pixels)


def images_by_kind(model: Mimo, rows: Rows, most: int) -> dict[str, list[tuple[Tensor, str]]]:
    """Up to `most` images of each source and modality, each with its modality."""
    found: dict[str, list[tuple[Tensor, str]]] = {}
    about = rows.select_columns(["source", "modality"])
    for numbers in rows_by_image(rows):
        kind = "{source}, {modality}".format(**about[numbers[0]])
        if len(found.setdefault(kind, [])) < most:
            row = rows[numbers[0]]
            found[kind].append((square(model, np.asarray(row["image"].convert("RGB"))), row["modality"]))
    return found


def pictures_in(model: Mimo, folder: Path) -> list[Tensor]:
    """Pictures in a folder, or the inner slices of the DICOM series in it."""
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in PICTURES)
    if files:
        return [square(model, np.asarray(Image.open(file).convert("RGB"))) for file in files]
    series = MedicalImage.open(folder)
    fifth = series.n_slices // 5
    return [square(model, series.slice(n)) for n in range(fifth, series.n_slices - fifth)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--phantom", required=True, help="a built set of phantoms")
    parser.add_argument(
        "--pictures", type=Path, nargs="+", default=[], help="folders of other pictures, or of a series"
    )
    parser.add_argument("--images", type=int, default=300, help="of each kind and split, at most")
    options = parser.parse_args()

    model, changes = Mimo.from_pretrained(options.weights), Changes()
    summaries: dict[str, dict[str, Tensor]] = {}
    for split in ("train", "validation", "test"):
        kinds = images_by_kind(model, load_mimoseg(options.dataset, split), options.images)
        for kind, images in tqdm(kinds.items(), desc=split):
            plain = [image for image, _ in images]
            changed = [] if split == "test" else [changes(*image) for image in images]
            summaries.setdefault(split, {})[kind] = summarise(model, plain + changed)
    domain = ImageDomain.fit(list(summaries["train"].values()), torch.cat(list(summaries["validation"].values())))
    domain.save(options.weights)

    measured = summaries["test"]
    for kind, images in images_by_kind(model, load_mimoseg(options.phantom, "test"), options.images).items():
        measured[kind] = summarise(model, [image for image, _ in images])
    samples = Path(skimage.__path__[0]) / "data"
    for folder in (samples, *options.pictures):
        name = "skimage.data" if folder == samples else folder.name
        measured[name] = summarise(model, pictures_in(model, folder))
    table = Table(box=None, pad_edge=False)
    for title in ("images", "n", "median distance", "warned"):
        table.add_column(title)
    for kind, values in measured.items():
        distance = domain.distance(values)
        warned = (distance > 1).float().mean().item()
        table.add_row(kind, str(len(values)), f"{distance.median().item():.2f}", f"{warned:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
