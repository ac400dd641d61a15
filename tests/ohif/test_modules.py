"""The panel's geometry, file format and texts, held against ITK and pynrrd; run by Node where it is there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import itk
import numpy as np
import pytest

NODE = shutil.which("node")


def rotation(rng: np.random.Generator) -> np.ndarray:
    """A proper rotation, as the images of a series have."""
    q, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    return q * np.sign(np.linalg.det(q))


def run(tests: str, env: dict[str, str]) -> None:
    """Run a file of tests in Node."""
    command = [str(NODE), "--test", str(Path(__file__).with_name(tests))]
    done = subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(NODE is None, reason="no Node on this machine")
def test_masks_steps_and_sessions() -> None:
    run("work.mjs", {})


@pytest.mark.skipif(NODE is None, reason="no Node on this machine")
@pytest.mark.parametrize("seed", [0, 1])
def test_against_itk(tmp_path: Path, seed: int) -> None:
    """An oblique series whose images come in any order."""
    rng = np.random.default_rng(seed)
    columns, rows, slices = shape = 13, 9, 5
    image = itk.image_from_array(np.zeros(shape[::-1], np.uint8))
    direction, spacing = rotation(rng), np.array([0.7, 1.3, 4.0])
    image.SetDirection(direction)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(rng.uniform(-200, 200, 3).tolist())

    def world(voxel: np.ndarray) -> list[float]:
        return list(image.TransformIndexToPhysicalPoint([int(v) for v in voxel]))

    images = [
        {
            "imageId": f"image:{k}",
            "plane": {
                "rowCosines": direction[:, 0].tolist(),
                "columnCosines": direction[:, 1].tolist(),
                "imagePositionPatient": world(np.array([0, 0, k])),
                "columnPixelSpacing": spacing[0],
                "rowPixelSpacing": spacing[1],
                "columns": columns,
                "rows": rows,
            },
        }
        for k in rng.permutation(slices).tolist()
    ]
    voxels = rng.permutation(columns * rows * slices)[:40]
    at = np.stack(np.unravel_index(voxels, shape), axis=1)
    labels = np.zeros(shape, np.uint8)
    labels[tuple(at.T)] = rng.integers(1, 256, len(at))
    case = {
        "images": images,
        "points": [{"voxel": v.tolist(), "world": world(v)} for v in at],
        "voxels": [{"at": v.tolist(), "value": int(labels[tuple(v)])} for v in at],
    }
    (tmp_path / "case.json").write_text(json.dumps(case))
    filled = itk.image_from_array(np.ascontiguousarray(labels.transpose()))
    filled.CopyInformation(image)
    for name, compress, kind in (("raw", False, np.uint8), ("gzip", True, np.uint8), ("short", True, np.int16)):
        out = itk.image_from_array(np.ascontiguousarray(labels.transpose().astype(kind)))
        out.CopyInformation(image)
        itk.imwrite(out, str(tmp_path / f"{name}.nrrd"), compression=compress)
    run("check.mjs", {"CASE": str(tmp_path)})
    written = itk.imread(str(tmp_path / "written.nrrd"))
    assert np.array_equal(itk.array_from_image(written), labels.transpose())
    assert np.allclose(written.GetOrigin(), image.GetOrigin(), atol=1e-6)
    assert np.allclose(written.GetSpacing(), spacing, atol=1e-6)
    assert np.allclose(itk.array_from_matrix(written.GetDirection()), direction, atol=1e-6)


def test_no_markup_is_made_of_text() -> None:
    """Nothing in the panel can turn a string into elements or code."""
    folder = Path(__file__).resolve().parents[2] / "monailabel_app" / "ohif"
    files = sorted(folder.glob("*.js"))
    assert len(files) > 5
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "DOMParser", "eval(", "Function("):
        assert not [file.name for file in files if word in file.read_text()], word
