"""`mimo ask` about a volume, with a stand-in for the weights: what is written, on which voxels, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from monai_mimo.cli import main
from monai_mimo.inference import MimoPredictor
from monai_mimo.inference.volume_answer import VolumeAnswer, VolumeEntity
from monai_mimo.transforms import MedicalImage

SHAPE = (20, 24, 9)
AFFINE = np.array([[0, -1.5, 0, 3], [1.2, 0, 0, -7], [0, 0, -4, 11], [0, 0, 0, 1.0]])  # axes turned and flipped


def block(*ends: slice) -> np.ndarray:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[ends] = True
    return mask


LIVER, TUMOUR = block(np.s_[2:9], np.s_[3:12], np.s_[2:7]), block(np.s_[4:6], np.s_[5:8], np.s_[3:5])
SPLEEN = block(np.s_[12:15], np.s_[3:6], np.s_[2:4])


class StandIn:
    """Answers with what it is given, and keeps what it was asked."""

    def __init__(self, masks: dict[str, np.ndarray]) -> None:
        self.masks, self.asked, self.model_info = masks, {}, {"weights": "stand-in", "preset": "none"}

    def set_volume(self, image: MedicalImage) -> None:
        self.image = image

    def ask_volume(
        self,
        question: str,
        points: list[tuple[float, ...]],
        boxes: list[tuple[float, ...]],
        scribbles: np.ndarray | None,
        progress: Callable[[int, int], None],
    ) -> VolumeAnswer:
        self.asked = {"question": question, "points": points, "boxes": boxes, "scribbles": scribbles}
        progress(self.image.n_slices, self.image.n_slices)
        text, entities = "I found", []
        for name, mask in self.masks.items():
            text += " "
            entities.append(VolumeEntity(name, (len(text), len(text) + len(name)), mask, 0.8, volume_ml=1.0))
            text += name
        return VolumeAnswer(text, list(entities), self.image.size, shape=self.image.shape)


@pytest.fixture
def case(tmp_path: Path) -> Path:
    values = np.random.default_rng(0).integers(0, 1000, SHAPE).astype(np.int16)
    nib.save(nib.Nifti1Image(values, AFFINE), tmp_path / "case.nii.gz")
    return tmp_path / "case.nii.gz"


def stand_in(monkeypatch: pytest.MonkeyPatch, **masks: np.ndarray) -> StandIn:
    one = StandIn(masks)
    monkeypatch.setattr(MimoPredictor, "from_pretrained", lambda weights=None: one)
    return one


def labels_of(path: Path) -> Any:
    image = nib.load(path)
    np.testing.assert_allclose(image.affine, AFFINE)
    return np.asarray(image.dataobj)


def test_a_label_map_and_a_contact_sheet(
    case: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in(monkeypatch, liver=LIVER, spleen=SPLEEN)
    out = ["--mask", str(tmp_path / "out.nii.gz"), "--overlay", str(tmp_path / "sheet.png")]
    main(["ask", str(case), "--question", "Where is the liver?", "--json", *out])
    said = json.loads(capsys.readouterr().out)
    assert [(e["phrase"], e["voxels"]) for e in said["entities"]] == [("liver", LIVER.sum()), ("spleen", SPLEEN.sum())]
    assert np.array_equal(labels_of(tmp_path / "out.nii.gz"), LIVER + 2 * SPLEEN)
    width, height = Image.open(tmp_path / "sheet.png").size
    assert (width, height) == (4 * 256, 2 * 256)  # five slices that hold something, then three planes


def test_overlaps_are_kept_in_files_of_their_own(case: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, liver=LIVER, tumor=TUMOUR)
    command = ["ask", str(case), "--question", "Where is the liver?", "--json", "--mask", str(tmp_path / "out.nii.gz")]
    assert main(command) == 0
    assert np.array_equal(labels_of(tmp_path / "out-1.nii.gz"), LIVER)
    assert np.array_equal(labels_of(tmp_path / "out-2.nii.gz"), TUMOUR)
    assert not (tmp_path / "out.nii.gz").exists()
    assert main(command) == 2  # they are there
    assert main([*command, "--force"]) == 0


def test_prompts_are_voxels(case: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = stand_in(monkeypatch, liver=LIVER)
    nib.save(nib.Nifti1Image(TUMOUR.astype(np.uint8) * 2, AFFINE), tmp_path / "paint.nii.gz")
    prompts = [
        "--point",
        "3,4,5",
        "--point",
        "0,1,2,0",
        "--box",
        "1,2,3,4,5,6",
        "--scribble",
        str(tmp_path / "paint.nii.gz"),
    ]
    main(["ask", str(case), *prompts])
    assert one.asked["points"] == [(3, 4, 5), (0, 1, 2, 0)]
    assert one.asked["boxes"] == [(1, 2, 3, 4, 5, 6)]
    assert np.array_equal(one.asked["scribbles"] == 2, TUMOUR)


@pytest.mark.parametrize(
    "wrong", [["--point", "3,4"], ["--box", "1,2,3,4"], ["--question", "What?", "--logits", "out.npy"]]
)
def test_what_is_of_a_slice_is_refused(
    case: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], wrong: list[str]
) -> None:
    stand_in(monkeypatch, liver=LIVER)
    assert main(["ask", str(case), *wrong]) == 2
    assert capsys.readouterr().err
