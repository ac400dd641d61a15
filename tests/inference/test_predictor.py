"""set_image and ask, as users of segment-anything know them."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from monai_mimo.errors import InputError, SeveralError, WeightsError
from monai_mimo.inference import MimoPredictor
from monai_mimo.models import Mimo
from monai_mimo.models.weights import save_weights
from monai_mimo.transforms import MedicalImage

from ..conftest import make_nano
from ..transforms.dicom_files import dicom_file, series


@pytest.fixture
def predictor(nano_weights: Path) -> MimoPredictor:
    return MimoPredictor.from_pretrained(nano_weights)


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)


def test_file_and_array_give_the_same(predictor: MimoPredictor, pixels: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(pixels).save(tmp_path / "a.png")
    answers = []
    for image in (pixels, tmp_path / "a.png", str(tmp_path / "a.png")):
        predictor.set_image(image)
        answers.append(predictor.ask("Where is the left kidney?", [(5, 6)], [(1, 2, 30, 20)]).to_json())
    assert answers[0] == answers[1] == answers[2]
    assert answers[0]["image"] == {"size": [40, 56], "slice": None, "modality": None}
    assert answers[0]["model"]["preset"] == "nano"


def test_pictures_of_pillow(predictor: MimoPredictor, pixels: np.ndarray) -> None:
    """As a column of `datasets` holds them: upright, and in colours without alpha."""
    expected = predictor.encode(pixels).features.context
    turned = Image.fromarray(np.rot90(pixels).copy())
    turned.getexif()[0x0112] = 6  # to be turned by a quarter, clockwise
    opaque = Image.fromarray(np.dstack([pixels, np.zeros_like(pixels[..., :1])]))
    for picture in (Image.fromarray(pixels), turned, opaque):
        assert predictor.encode(picture).features.context.equal(expected)
    for deep in (Image.fromarray(pixels[..., 0].astype(np.uint16)), Image.fromarray(pixels[..., 0].astype(np.float32))):
        with pytest.raises(InputError, match="expected uint8 pixels"):
            predictor.set_image(deep)
    with pytest.raises(InputError, match="found list; expected a path"):
        predictor.set_image(pixels.tolist())  # type: ignore[arg-type]


def test_one_of_several_series_in_another_plane(predictor: MimoPredictor, tmp_path: Path) -> None:
    folder = series(tmp_path / "s", [0, 1, 2, 3] * 2, EchoTime=[10] * 4 + [80] * 4)
    with pytest.raises(SeveralError):
        predictor.set_image(folder, 0)
    scout = np.zeros((20, 20), np.uint16)
    dicom_file(folder / "scout.dcm", scout, orientation=(0, 1, 0, 0, 0, -1), ImageType="A\\B\\LOCALIZER", series="9")
    for number in (0, "1"):
        chosen = {"plane": "sagittal", "series": number}
        encoded = predictor.encode(folder, 5, "MR", **chosen)
        opened = MedicalImage.open(folder, modality="MR", **chosen)
        assert (encoded.resize.height, encoded.resize.width) == (4, 8)
        assert encoded.features.context.equal(predictor.encode(opened, 5).features.context)
        with pytest.raises(InputError, match="where it is opened"):
            predictor.encode(opened, 5, **chosen)


def test_a_channel_and_notes_on_the_file(predictor: MimoPredictor, tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((5, 6, 3, 2)).astype(np.float32)
    values[0, 0, 0] = np.nan
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "four.nii.gz")
    with pytest.raises(SeveralError, match="channel"):
        predictor.set_image(tmp_path / "four.nii.gz", 1)
    predictor.set_image(tmp_path / "four.nii.gz", 1, channel=1)
    [note] = predictor.ask("What?").to_json()["notes"]
    assert "1 of 90 values are NaN" in note


def test_the_image_is_encoded_once(
    predictor: MimoPredictor, pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    encode = predictor.model.encoder_maps
    monkeypatch.setattr(predictor.model, "encoder_maps", lambda images: calls.append(1) or encode(images))
    predictor.set_image(pixels)
    first = predictor.ask("What?").to_json()
    predictor.ask("Where is the left kidney?")
    assert predictor.ask("What?").to_json() == first
    assert len(calls) == 1
    asked = [("Where is the left kidney?", []), ("What is at <point>?", [(9, 9)]), ("", [(20, 12)])]
    kept = [predictor.ask(*question) for question in asked[: 3 if predictor.model.region_names else 2]]
    for question, before in zip(asked, kept):
        predictor.set_image(pixels)  # anew for each
        again = predictor.ask(*question)
        assert again.to_json() == before.to_json()
        assert all((a.mask == b.mask).all() for a, b in zip(again.entities, before.entities, strict=True))


@pytest.mark.parametrize(
    ("question", "points", "boxes"),
    [
        ("", [], []),
        ("  ", [], []),
        ("What?", [(56, 3)], []),
        ("What?", [(-1, 3)], []),
        ("What?", [(3, 3, 2)], []),
        ("What?", [], [(3, 3, 3, 9)]),
        ("What?", [], [(9, 3, 3, 9)]),
        ("What?", [], [(3, 3, 57, 9)]),
        ("What is <point> and <point>?", [(3, 3)], []),
        ("kidney " * 300, [], []),
    ],
)
def test_bad_questions(predictor: MimoPredictor, pixels: np.ndarray, question: str, points: list, boxes: list) -> None:
    predictor.set_image(pixels)
    with pytest.raises(InputError):
        predictor.ask(question, points, boxes)


def test_ask_before_set_image(predictor: MimoPredictor) -> None:
    with pytest.raises(InputError, match="set_image"):
        predictor.ask("What?")


def test_pixels_must_be_uint8(predictor: MimoPredictor) -> None:
    with pytest.raises(InputError):
        predictor.set_image(np.zeros((4, 4)))


def test_weights_round_trip(nano_weights: Path, tmp_path: Path) -> None:
    model = Mimo.from_pretrained(nano_weights)
    again = Mimo.from_pretrained(save_weights(model, tmp_path / "again"))
    for (name, a), (_, b) in zip(model.state_dict().items(), again.state_dict().items()):
        assert torch.equal(a, b), name
    assert again.config == model.config
    assert again.tokenizer.get_vocab() == model.tokenizer.get_vocab()


def test_lora_weights_round_trip(tmp_path: Path) -> None:
    model = make_nano(lora={"rank": 4, "alpha": 8})
    again = Mimo.from_pretrained(save_weights(model, tmp_path / "lora"))
    assert again.config.lora == model.config.lora
    for (name, a), (_, b) in zip(model.state_dict().items(), again.state_dict().items()):
        assert torch.equal(a, b), name


def test_on_a_cpu_the_adapter_of_a_small_model_is_merged(
    tmp_path: Path, pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_nano(lora={"rank": 4, "alpha": 8})
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_B." in name:  # zero in a new adapter
                parameter.normal_(std=0.1)
    folder = save_weights(model, tmp_path / "lora")
    answers = []
    for limit in (0, 10**9):
        monkeypatch.setattr("monai_mimo.inference.predictor.MERGED_BELOW", limit)
        predictor = MimoPredictor.from_pretrained(folder)
        assert (predictor.model.config.lora is None) == (limit > 0)
        predictor.set_image(pixels)
        answers.append(predictor.ask("Where is the left kidney?", [(5, 6)]))
    apart, merged = answers
    assert apart.text == merged.text
    for one, other in zip(apart.entities, merged.entities, strict=True):
        assert one.score == pytest.approx(other.score, abs=1e-4)
        assert (one.mask != other.mask).mean() < 1e-3


def test_weights_of_another_preset(nano_weights: Path, tmp_path: Path) -> None:
    other = make_nano(mask_decoder={"width": 64, "layers": 2, "heads": 2, "mlp_width": 64})
    save_weights(other, tmp_path / "other")
    (tmp_path / "other" / "config.json").write_bytes((nano_weights / "config.json").read_bytes())
    with pytest.raises(WeightsError, match="preset nano"):
        Mimo.from_pretrained(tmp_path / "other")


@pytest.mark.parametrize("damage", ["cut", "missing tensor", "no tokenizer", "no folder", "bad config"])
def test_damaged_weights(nano_weights: Path, tmp_path: Path, damage: str) -> None:
    folder = save_weights(Mimo.from_pretrained(nano_weights), tmp_path / "weights")
    file = folder / "model.safetensors"
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:5000])
    elif damage == "missing tensor":
        tensors = load_file(file)
        tensors.pop("input_aligner.queries")
        save_file(tensors, file)
    elif damage == "no tokenizer":
        (folder / "tokenizer").rename(folder / "elsewhere")
    elif damage == "bad config":
        (folder / "config.json").write_text("{}")
    else:
        folder = tmp_path / "nothing"
    with pytest.raises(WeightsError) as error:
        Mimo.from_pretrained(folder)
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)
