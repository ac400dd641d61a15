"""3D Slicer's stock MONAILabel module, as its requests are: same client, same parameters, same reading of the replies.

Recorded from plugins/slicer/MONAILabel/MONAILabel.py of MONAI Label (2025-12): `getControlPointsXYZ`, `getROIPointsXYZ`,
`getParamsFromConfig`, `onClickDeepgrow`, `onClickSegmentation`, `onSaveLabel`, `monitorTraining`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

pytest.importorskip("monailabel")

import SimpleITK as sitk
from fastapi.testclient import TestClient
from monailabel.client import MONAILabelClient
from monailabel.client.client import MONAILabelClientException

from .conftest import BrightSpot, oblique_affine, serving

SPOT = (10, 7, 3)  # the first corner of a bright cube of 4 x 4 x 2 voxels


class Slicer:
    """The module with one volume loaded: what its logic does, without its widgets."""

    def __init__(self, address: str, folder: Path, image: Path) -> None:
        self.client = MONAILabelClient(address, str(folder), "user-xyz")
        self.info = self.client.info()
        self.affine = nib.load(image).affine
        self.image_id = image.name.removesuffix(".nii.gz")

    def ijk(self, ras: Any) -> list[int]:
        return [round(v) for v in (np.linalg.inv(self.affine) @ [*ras, 1.0])[:3]]

    def ras(self, ijk: Any) -> np.ndarray:
        return (self.affine @ [*ijk, 1.0])[:3]

    def roi(self, center: Any, size: Any) -> list[int]:
        ends = [self.ijk([c + sign * s / 2 for c, s in zip(center, size)]) for sign in (-1, 1)]
        return [v for pair in zip(*ends) for v in pair]

    def config(self, model: str, **chosen: Any) -> dict[str, Any]:
        """What the table of options holds; the chosen one of several is put first."""
        options = {**self.info["models"][model]["config"], **chosen}
        return {k: v[0] if isinstance(v, list) else v for k, v in options.items()}

    def infer(self, model: str, params: dict[str, Any]) -> tuple[sitk.Image, dict[str, Any]]:
        params = {**params, "result_extension": ".nrrd", "result_dtype": "uint8"}
        file, reply = self.client.infer(model, self.image_id, params)
        assert file.endswith(".nrrd")
        return sitk.ReadImage(file), reply

    def deepgrow(
        self, model: str, foreground: Any = (), background: Any = (), roi: list[int] | None = None, red: float = 0
    ) -> tuple[sitk.Image, dict[str, Any]]:
        """`onClickDeepgrow` for the segment "liver"; points in RAS, `red` is the position of the red slice."""
        points, outside = [self.ijk(p) for p in foreground], [self.ijk(p) for p in background]
        in_3d = self.info["models"][model]["dimension"] != 2
        current = points[-1] if points else outside[-1] if outside else None
        if roi and not in_3d and not points:
            current = [roi[1] + (roi[1] - roi[0]) // 2, roi[3] + (roi[3] - roi[2]) // 2, round(abs(red))]
        index = current[2] if current else None
        if not in_3d and index:
            points, outside = ([p for p in group if p[2] == index] for group in (points, outside))
        params = {"label": "liver", "foreground": points, "background": outside, **self.config(model)}
        if roi:
            params["roi"] = roi
        if not in_3d:
            params["slice"] = index
        return self.infer(model, params)

    def segments(self, image: sitk.Image, names: list[str]) -> dict[str, set[tuple[int, ...]]]:
        """`updateSegmentationMask`: the n-th name is the n-th value; as voxels of the volume, found by position."""
        values, found = sitk.GetArrayFromImage(image), {}
        for value, name in enumerate(names, start=1):
            voxels = set()
            for k, j, i in np.argwhere(values == value):
                x, y, z = image.TransformIndexToPhysicalPoint((int(i), int(j), int(k)))
                voxels.add(tuple(self.ijk((-x, -y, z))))  # LPS
            found[name] = voxels
        return found


@pytest.fixture
def slicer(start: Callable[..., TestClient], tmp_path: Path) -> Iterator[Slicer]:
    """With an oblique volume, anisotropic and flipped, in which only `SPOT` is bright."""
    values = np.random.default_rng(0).integers(0, 100, (24, 20, 9)).astype(np.int16)
    i, j, k = SPOT
    values[i : i + 4, j : j + 4, k : k + 2] = 900
    (tmp_path / "studies").mkdir()
    image = tmp_path / "studies" / "oblique.nii.gz"
    nib.save(nib.Nifti1Image(values, oblique_affine()), image)
    start(tmp_path / "studies", BrightSpot())

    with serving() as address:
        yield Slicer(address, tmp_path, image)


def spot(slices: tuple[int, ...]) -> set[tuple[int, ...]]:
    i, j, _ = SPOT
    return {(a, b, c) for a in range(i, i + 4) for b in range(j, j + 4) for c in slices}


def test_what_the_module_shows(slicer: Slicer) -> None:
    models = slicer.info["models"]
    types = {name: (model["type"], model["dimension"]) for name, model in models.items()}
    assert types == {
        "mimo_click": ("deepgrow", 2),
        "mimo_volume": ("deepgrow", 3),
        "mimo_segment": ("segmentation", 3),
        "mimo_ask": ("segmentation", 2),
    }
    assert slicer.info["labels"] == ["liver", "spleen"]
    assert list(slicer.info["trainers"]) == ["mimo"]
    assert list(slicer.info["strategies"]) == ["mimo_uncertainty", "random", "first"]
    for model in (*models.values(), *slicer.info["trainers"].values()):
        for value in model["config"].values():  # what its table can show
            assert isinstance(value, str | int | float) or all(isinstance(v, str) for v in value)


def test_a_point_in_2d(slicer: Slicer) -> None:
    label, reply = slicer.deepgrow("mimo_click", [slicer.ras((11.3, 8.2, 4))], [slicer.ras((2, 2, 4))])
    assert slicer.segments(label, ["liver"]) == {"liver": spot((4,))}
    assert reply["label_names"] == {"liver": 1}


def test_a_box_in_2d(slicer: Slicer) -> None:
    middle = slicer.ras((SPOT[0] + 1.5, SPOT[1] + 1.5, 3))
    roi = slicer.roi(middle, (12, 12, 10))
    for red in (3.4, 55.0, 4000.0, -70.2):  # the module sends millimetres as the slice; the box tells where it is
        label, _ = slicer.deepgrow("mimo_click", roi=roi, red=red)
        found = slicer.segments(label, ["liver"])["liver"]
        assert found
        assert found in (spot((3,)), spot((4,)))


def test_a_point_in_3d(slicer: Slicer) -> None:
    label, reply = slicer.deepgrow("mimo_volume", [slicer.ras((12, 9, 3))])
    assert slicer.segments(label, ["liver"]) == {"liver": spot((3, 4))}
    assert sitk.GetArrayFromImage(label).max() == 1
    assert reply["entities"][0]["phrase"] == "liver"


def test_names_from_the_options(slicer: Slicer) -> None:
    label, reply = slicer.infer("mimo_segment", slicer.config("mimo_segment", label="liver"))
    names = [name for name, _ in sorted(reply["label_names"].items(), key=lambda item: item[1])]
    assert slicer.segments(label, names) == {"liver": spot((3, 4))}


def test_a_question_in_the_options(slicer: Slicer) -> None:
    chosen = {"question": "What is bright here?", "slice": 4}
    label, reply = slicer.infer("mimo_ask", slicer.config("mimo_ask", **chosen))
    assert reply["answer"] == "That is the liver."
    assert slicer.segments(label, list(reply["label_names"])) == {"liver": spot((4,))}


def test_what_goes_wrong_is_said(slicer: Slicer) -> None:
    with pytest.raises(MONAILabelClientException, match="question"):
        slicer.infer("mimo_ask", slicer.config("mimo_ask"))
    with pytest.raises(MONAILabelClientException, match="point"):
        slicer.deepgrow("mimo_click")


def test_next_sample_and_save(slicer: Slicer, tmp_path: Path) -> None:
    sample = slicer.client.next_sample("first", {})
    assert sample["id"] == "oblique"
    assert Path(sample["path"]).samefile(tmp_path / "studies" / "oblique.nii.gz")
    label, _ = slicer.deepgrow("mimo_volume", [slicer.ras((12, 9, 3))])
    file = tmp_path / "label.nii.gz"
    sitk.WriteImage(label, str(file))
    slicer.client.save_label(
        sample["id"], str(file), params={"label_info": [{"name": "liver", "idx": 1}], "model": "mimo_segment"}
    )
    assert slicer.client.info()["datastore"]["completed"] == 1
    assert slicer.client.next_sample("first", {}) == {}
    kept = sitk.ReadImage(slicer.client.download_label("oblique", "final"))
    assert slicer.segments(kept, ["liver"]) == {"liver": spot((3, 4))}


def test_training_is_started_watched_and_stopped(slicer: Slicer) -> None:
    """No process is started here: what the module reads is there before, and a stop without a run is no error."""
    stats = next(iter(slicer.info["train_stats"].values()))
    assert not stats or isinstance(stats.get("best_metric", 0), int | float)
    assert slicer.client.train_stop() is None
    assert not slicer.client.train_status(True)
