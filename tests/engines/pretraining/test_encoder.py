"""The first stage learns regions by name and by prompt, leaves the language side as it is, and goes on where it was stopped."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from monai_mimo.data.region_images import region_images
from monai_mimo.data.regions import RegionDataset
from monai_mimo.engines import Checkpoints
from monai_mimo.engines.pretraining import encoder as regions_first
from monai_mimo.engines.pretraining import pretrain_encoder, with_names
from monai_mimo.errors import InputError
from monai_mimo.mimoseg import load_mimoseg
from monai_mimo.mimoseg.catalogue.vocabulary import vocabulary
from monai_mimo.models import Mimo

from ...conftest import make_nano
from ..small_set import NAMES, write_set

FINE = {"width": 32, "layers": 2, "heads": 2, "mlp_width": 64, "fine": (8, 8, 16, 16, 16)}
SMALL = {"images_per_batch": 2, "targets_per_image": 3, "workers": 0}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory):
    folder: Path = write_set(tmp_path_factory.mktemp("set"), vqa=False)
    return load_mimoseg(folder, "train")


@pytest.fixture
def second_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step takes a second, and nothing else takes time."""
    clock, loss = SimpleNamespace(now=0.0), regions_first.region_loss

    def step(*arguments: object) -> torch.Tensor:
        clock.now += 1
        return loss(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("monai_mimo.engines.pretraining.encoder.region_loss", step)
    monkeypatch.setattr("monai_mimo.engines.handlers.time.monotonic", lambda: clock.now)


def make() -> Mimo:
    torch.manual_seed(0)
    return make_nano(mask_decoder=FINE, names=dict.fromkeys(NAMES, ()))


def test_names_of_a_set(rows) -> None:
    found = with_names(make().config, rows).names
    assert list(found) == sorted(NAMES)
    assert found["spleen"] == tuple(vocabulary()["spleen"].synonyms)
    assert "kidney" not in found["left kidney"]


@pytest.mark.usefixtures("second_a_step")
def test_the_loss_falls_and_the_language_side_stays(rows) -> None:
    model = make()
    held_out = RegionDataset(region_images(rows), NAMES, 64, images_per_batch=8, targets_per_image=3, seed=99, zoom=0)[
        0
    ]

    def loss() -> float:
        torch.manual_seed(1)
        with torch.no_grad():
            return regions_first.region_loss(model, held_out).item()

    before, first = {name: tensor.clone() for name, tensor in model.state_dict().items()}, loss()
    pretrain_encoder(model, rows, 1.2, 5e-3, 5e-3, **SMALL)
    assert loss() < 0.8 * first
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    parts = {name.split(".")[0] for name in changed}
    assert parts == {"image_encoder", "neck", "prompt_encoder", "mask_decoder", "region_names"}
    assert "mask_decoder.text_projection.0.weight" not in changed


@pytest.mark.usefixtures("second_a_step")
def test_it_goes_on_where_it_was_stopped(rows, tmp_path: Path) -> None:
    def run(place: str, stop: bool = False) -> Mimo:
        model = make()
        checkpoints = Checkpoints(tmp_path / place, {"seed": 0}, every=1)
        checkpoints.asked_to_stop = stop  # after its first step
        torch.manual_seed(1)
        pretrain_encoder(model, rows, 0.1, 1e-2, 1e-2, checkpoints=checkpoints, **SMALL)
        return model

    whole, stopped = run("whole"), run("parts", stop=True)
    gone_on, again = run("parts"), run("parts")  # the last had ended
    for name, tensor in whole.state_dict().items():
        assert torch.equal(gone_on.state_dict()[name], tensor), name
        assert torch.equal(again.state_dict()[name], tensor), name
    assert any(not torch.equal(stopped.state_dict()[n], t) for n, t in whole.state_dict().items())


def test_it_needs_a_fine_branch(rows) -> None:
    with pytest.raises(InputError, match="fine branch"):
        pretrain_encoder(make_nano(), rows, 1, 1e-2, 1e-2)
