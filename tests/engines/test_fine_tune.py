"""Fine-tuning on labelled images: what is trained and what is not, what is held out, and that it learns."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from monai_mimo.engines import fine_tune, quality_of
from monai_mimo.engines.fine_tune import CHOICES, FineTuned, Quality, adapted, build_labelled
from monai_mimo.errors import DataError, InputError
from monai_mimo.mimoseg import load_mimoseg
from monai_mimo.mimoseg.encoding import decode_rle
from monai_mimo.mimoseg.sources.labelled import LabelledImage, plain_name
from monai_mimo.models import Mimo
from monai_mimo.models.weights import fingerprint, save_weights

from ..conftest import make_nano, training_batch


def volumes(folder: Path, count: int = 4) -> list[LabelledImage]:
    """Bright cubes (liver, 1) and dim ones (spleen, 2) in volumes with a flipped axis; 7 stands for nothing."""
    rng = np.random.default_rng(0)
    images = []
    for number in range(count):
        labels = np.zeros((32, 28, 8), np.uint8)
        x, y = rng.integers(2, 10, size=2)
        labels[x : x + 8, y : y + 8, 2:7] = 1
        labels[x + 10 : x + 18, y : y + 8, 3:6] = 2
        labels[0, 0, 0] = 7
        values = rng.normal(0, 10, labels.shape) + np.choose(np.minimum(labels, 2), [0, 200, 90])
        affine = np.diag([-2.0, 2, 4, 1])
        for name, array in (("image", values.astype(np.int16)), ("labels", labels)):
            nib.save(nib.Nifti1Image(array, affine), folder / f"Doe_{number}_{name}.nii.gz")
        paths = (folder / f"Doe_{number}_image.nii.gz", folder / f"Doe_{number}_labels.nii.gz")
        images.append(LabelledImage(*paths, {"Liver": 1, "spleen": 2, "background": 0}))
    return images


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> list[LabelledImage]:
    return volumes(tmp_path_factory.mktemp("labelled"))


@pytest.fixture(scope="module")
def built(labelled: list[LabelledImage], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_labelled(labelled, tmp_path_factory.mktemp("built") / "set")


def test_questions_are_about_what_was_saved(labelled: list[LabelledImage], built: Path) -> None:
    rows = {split: load_mimoseg(built, split) for split in ("train", "validation")}
    patients = {split: set(r["patient"]) for split, r in rows.items()}
    assert [len(p) for p in patients.values()] == [3, 1]
    assert not patients["train"] & patients["validation"]
    assert {p for r in rows.values() for p in r["perspective"]} == {1, 2}
    truth = [np.asarray(nib.load(i.labels).dataobj) for i in labelled]
    values = {"liver": 1, "spleen": 2}
    for row in rows["train"]:
        for entity in row["entities"]:
            mask = decode_rle(entity["mask"])
            # display: rows towards posterior, columns towards the left; the file's x runs to the left, y to anterior
            slices = [(t[:, ::-1, row["slice"]] == values[entity["phrase"]]).T for t in truth]
            assert any((mask == s).all() for s in slices)
    assert "Doe" not in json.dumps([{k: v for k, v in row.items() if k != "image"} for row in rows["train"]])
    assert not list(built.parent.glob(".*"))


def test_too_little_to_learn_from(labelled: list[LabelledImage], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="2 labelled patients"):
        build_labelled(labelled[:2], tmp_path / "set")
    one = [LabelledImage(i.image, i.labels, i.names, patient="same") for i in labelled]
    with pytest.raises(InputError, match="1 labelled patient;"):
        build_labelled(one, tmp_path / "set")
    nameless = [LabelledImage(i.image, i.labels, {"background": 0, "foreground": 1}) for i in labelled]
    with pytest.raises(InputError, match="no name"):
        build_labelled(nameless, tmp_path / "set")
    other = [LabelledImage(i.image, labelled[0].image, i.names) for i in labelled]
    with pytest.raises(DataError):
        build_labelled(other, tmp_path / "set")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "name"),
    [("Left_Kidney", "left kidney"), ("kidney_left", "left kidney"), ("My Odd  thing", "my odd thing")]
    + [(bad, "") for bad in ("background", "", "  ", "<script>")],
)
def test_names(text: str, name: str) -> None:
    assert plain_name(text) == name


def test_it_learns_and_keeps_the_form_of_the_weights(nano_weights: Path, built: Path, tmp_path: Path) -> None:
    steps: list[tuple[int, int, float]] = []
    old = fingerprint(nano_weights)
    done = fine_tune(
        nano_weights,
        built,
        tmp_path / "new",
        steps=40,
        learning_rate=5e-3,
        parts=("mask_decoder", "input_aligner", "prompt_encoder", "presence"),
        on_step=lambda *step: steps.append(step),
    )
    assert [s[:2] for s in steps] == [(n, 40) for n in range(1, 41)]
    assert np.mean([s[2] for s in steps[-8:]]) < 0.9 * np.mean([s[2] for s in steps[:8]])
    assert fingerprint(nano_weights) == old
    before, after = (Mimo.from_pretrained(f) for f in (nano_weights, done.folder))
    assert before.config == after.config
    assert before.state_dict().keys() == after.state_dict().keys()
    same = {n for n, t in before.state_dict().items() if torch.equal(t, after.state_dict()[n])}
    changed = before.state_dict().keys() - same
    assert not any(n.startswith(("image_encoder", "neck")) for n in changed)
    assert any(n.startswith("mask_decoder") for n in changed)
    assert any("q_proj" in n for n in changed)
    # what was measured is what was written, and is measured again on the same questions
    assert quality_of(after, load_mimoseg(built, "validation")) == pytest.approx(done.after, abs=1e-3)
    notes = json.loads((done.folder / "config.json").read_text())["fine_tuned"]
    assert notes["after"] == vars(done.after)


def test_a_merged_adapter_computes_the_same() -> None:
    model = make_nano().eval()
    images, questions = training_batch(model)
    names = list(model.state_dict())
    with adapted(model, 4, ()) as trained:
        for name, parameter in trained.named_parameters():
            assert parameter.requires_grad == ("lora_" in name or "trainable_tokens_delta" in name), name
            if parameter.requires_grad:
                torch.nn.init.normal_(parameter, std=0.1)
        with torch.no_grad():
            expected = trained(images, questions)
    assert list(model.state_dict()) == names
    assert all(p.requires_grad for p in model.parameters())
    with torch.no_grad():
        found = model(images, questions)
    torch.testing.assert_close(found.text_logits, expected.text_logits, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(found.mask_logits, expected.mask_logits, atol=1e-4, rtol=1e-3)


def test_a_model_with_an_adapter_keeps_it(built: Path, tmp_path: Path) -> None:
    model = make_nano(lora={"rank": 2, "alpha": 2})
    weights = save_weights(model, tmp_path / "lora")
    done = fine_tune(weights, built, tmp_path / "new", steps=2)
    old, new = Mimo.from_pretrained(weights).state_dict(), Mimo.from_pretrained(done.folder).state_dict()
    assert old.keys() == new.keys()
    assert {n for n in old if not torch.equal(old[n], new[n]) and not n.startswith("mask_decoder")} == {
        n for n in old if "lora_" in n or "trainable_tokens" in n
    }


@pytest.mark.parametrize("frozen", [True, False])
def test_an_encoder_learns_unless_its_preset_freezes_it(built: Path, tmp_path: Path, frozen: bool) -> None:
    model = make_nano(image_encoder={"name": "convolutions", "frozen": frozen})
    weights = save_weights(model, tmp_path / "old")
    done = fine_tune(weights, built, tmp_path / "new", steps=2, parts=CHOICES["all"])
    old, new = Mimo.from_pretrained(weights).state_dict(), Mimo.from_pretrained(done.folder).state_dict()
    encoder = [n for n in old if n.startswith("image_encoder")]
    assert encoder
    assert all(torch.equal(old[n], new[n]) == frozen for n in encoder)
    assert all(not torch.equal(old[n], new[n]) for n in old if n.startswith("neck"))


def test_stopping_leaves_nothing(nano_weights: Path, built: Path, tmp_path: Path) -> None:
    def stop(step: int, steps: int, loss: float) -> None:
        if step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fine_tune(nano_weights, built, tmp_path / "new", steps=50, on_step=stop)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("options", [{"steps": 0}, {"learning_rate": 2}, {"rank": 0}, {"parts": ["language_model"]}])
def test_options_out_of_range(nano_weights: Path, built: Path, tmp_path: Path, options: dict) -> None:
    with pytest.raises(InputError):
        fine_tune(nano_weights, built, tmp_path / "new", **options)


def test_what_is_better() -> None:
    def better(before: tuple[float, float], after: tuple[float, float]) -> bool:
        return FineTuned(Path(), Quality(*before), Quality(*after), 1, 1).better

    assert better((0.5, 0.9), (0.6, 0.1))
    assert better((0.5, 0.8), (0.5, 0.9))
    assert not better((0.5, 0.9), (0.5, 0.9))
    assert not better((0.5, 0.1), (0.4, 0.9))
    assert not better((0.5, 0.1), (float("nan"), float("nan")))
