"""Rows that a model cannot hold are left out, and said to be; parts of other weights are taken over or refused."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from datasets import Dataset

from monai_mimo.engines import load_partial, rows_that_fit
from monai_mimo.errors import WeightsError
from monai_mimo.models import Mimo

from ..conftest import make_nano

START = "It is the <p> liver </p> <SEG>."
LONG = " because it is so" * 100


def test_long_questions_and_lists_are_left_out(nano: Mimo, caplog: pytest.LogCaptureFixture) -> None:
    """A long explanation stays, for it can be cut; a long question cannot, nor an answer that grounds something late."""
    texts = [("What?", START), ("What?", START + LONG), ("What" + LONG, START), ("What?", LONG + START)]
    rows = Dataset.from_dict(
        {
            "question": [q for q, _ in texts],
            "answer": [a for _, a in texts],
            "points": [[]] * len(texts),
            "boxes": [[]] * len(texts),
        }
    )
    with caplog.at_level(logging.WARNING):
        assert rows_that_fit(rows, nano)["answer"] == [START, START + LONG]
    assert "2 of 4 questions are left out" in caplog.text
    assert rows_that_fit(rows, nano, with_answers=False)["question"] == ["What?"] * 3
    assert rows_that_fit(rows.select([0]), nano) is not None


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
