"""Parts of trained weights are copied by name and shape; the rest of the model stays as it is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from monai_mimo.engines import load_partial
from monai_mimo.errors import WeightsError
from monai_mimo.models import Mimo

from ..conftest import make_nano


def test_what_fits_is_copied(nano_weights: Path) -> None:
    torch.manual_seed(1)
    model = make_nano(aligner={"queries": 3, "width": 32, "layers": 1, "heads": 2})
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    other = Mimo.from_pretrained(nano_weights).state_dict()
    load_partial(model, nano_weights, ["image_encoder", "mask_decoder"])
    for name, tensor in model.state_dict().items():
        taken = name.split(".")[0] in ("image_encoder", "mask_decoder")
        assert torch.equal(tensor, other[name] if taken else before[name]), name


def test_a_part_of_which_nothing_fits_is_an_error(nano_weights: Path) -> None:
    with pytest.raises(WeightsError, match="no tensor of segmentation_encoder"):
        load_partial(make_nano(), nano_weights, ["image_encoder", "segmentation_encoder"])
