"""The first stage learns masks by name, knows what the questions tell of an image and no more, and goes on where it stopped."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from monai_mimo.data.dataset import Batch
from monai_mimo.engines import Checkpoints, masks_first, segment_first
from monai_mimo.errors import InputError
from monai_mimo.mimoseg import load_mimoseg
from monai_mimo.models import Mimo

from ..conftest import make_nano
from .small_set import write_set

ORDER = {"images_per_batch": 7, "global_batch": 7}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("set"), vqa=False)


@pytest.fixture(autouse=True)
def second_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step takes a second, and nothing else takes time."""
    clock, known_masks = SimpleNamespace(now=0.0), masks_first.known_masks

    def step(*arguments: Any) -> tuple[torch.Tensor, torch.Tensor]:
        clock.now += 1
        return known_masks(*arguments)

    monkeypatch.setattr("monai_mimo.engines.masks_first.known_masks", step)
    monkeypatch.setattr("monai_mimo.engines.time_budget.time.monotonic", lambda: clock.now)


def make() -> Mimo:
    torch.manual_seed(0)
    return make_nano(image_encoder={"name": "convolutions", "frozen": False})


def test_what_is_known_of_an_image() -> None:
    image_of_question = torch.tensor([0, 0, 1])
    masks = torch.from_numpy(np.random.default_rng(0).random((3, 8, 8)) < 0.5)
    rows = [
        {"entities": [{"phrase": "spleen"}, {"phrase": "liver"}], "absent": []},
        {"entities": [], "absent": ["tumor", "polyp"]},  # of a polyp no mask is known anywhere
        {"entities": [{"phrase": "liver"}], "absent": []},
    ]
    questions = SimpleNamespace(image_index=image_of_question)
    batch = Batch(torch.zeros(2, 3, 8, 8), questions, masks, [0, 1, 2])  # type: ignore[arg-type]
    known, found = masks_first.known_masks(batch, rows, ["liver", "spleen", "tumor"])  # type: ignore[arg-type]
    assert known.tolist() == [[True, True, True], [True, False, False]]
    assert torch.equal(found, torch.stack([masks[1], masks[0], torch.zeros(8, 8, dtype=torch.bool), masks[2]]))


def test_it_learns_masks_and_leaves_the_rest_of_the_model(folder: Path) -> None:
    model, rows = make(), load_mimoseg(folder, "train")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    network = segment_first(model, rows, 0.7, 1e-2, 1e-2, **ORDER)
    assert network is not None
    changed = {
        name.split(".")[0] for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])
    }
    assert changed == {"image_encoder", "neck"}
    rows = masks_first.of_perspectives(rows, masks_first.TOLD_BY_NAME)
    loader = masks_first.training_loader(model, rows, questions_per_image=1, augment_images=False, **ORDER)
    overlaps, entities = [], sorted({row["entities"][0]["phrase"] for row in rows})
    with torch.no_grad():
        for [batch], _ in zip(loader, range(2)):
            known, masks = masks_first.known_masks(batch, rows, entities)
            drawn = network.eval()(batch.images)[known] > 0
            overlaps.append(2 * (drawn & masks).sum() / (drawn.sum() + masks.sum()))
    assert min(overlaps) > 0.8


def test_it_goes_on_where_it_was_stopped(folder: Path, tmp_path: Path) -> None:
    rows = load_mimoseg(folder, "train")

    def run(model: Mimo, place: str, stop: bool = False) -> Mimo:
        checkpoints = Checkpoints(tmp_path / place, {"seed": 0}, every=1)
        checkpoints.asked_to_stop = stop  # after its first step
        torch.manual_seed(1)
        segment_first(model, rows, 0.1, 1e-2, 1e-2, checkpoints=checkpoints, **ORDER)
        return model

    whole = run(make(), "whole")
    stopped = run(make(), "parts", stop=True)
    gone_on = run(make(), "parts")
    again = run(make(), "parts")  # it has ended
    for name, tensor in whole.state_dict().items():
        assert torch.equal(gone_on.state_dict()[name], tensor), name
        assert torch.equal(again.state_dict()[name], tensor), name
    assert any(not torch.equal(stopped.state_dict()[n], t) for n, t in whole.state_dict().items())


def test_it_needs_a_feature_pyramid() -> None:
    model = make()
    model.neck = torch.nn.Identity()  # type: ignore[assignment]
    with pytest.raises(InputError, match="feature pyramid"):
        segment_first(model, None, 1, 1e-2, 1e-2, **ORDER)  # type: ignore[arg-type]
