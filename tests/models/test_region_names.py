"""Names of regions: by their looks, and by where they were clicked."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monai_mimo.data.conversation import collate_questions
from monai_mimo.inference import MimoPredictor
from monai_mimo.models.default_weights import SHIPPED
from monai_mimo.models.region_names import told_by_clicks
from monai_mimo.phantom.draw_pictures import draw_chest

FRACTIONS = st.floats(0, 1)


def told(chances: list[float], held: list[float], alike: list[float], area: list[float]) -> torch.Tensor:
    """What the first two of some names are told by a click, and the others."""
    outlines = (torch.tensor([values]) for values in (held, alike, area))
    return told_by_clicks(torch.tensor([chances]), torch.tensor([[0, 1]]), *outlines)[0]


def test_of_two_that_look_alike_the_one_that_holds_the_click_is_meant() -> None:
    # By hand: 0.1 * sqrt(0.45 / 0.25) = 0.134, 0.9 * sqrt(0.40 / 0.25) = 1.138, and without a name sqrt(0.10 / 0.85) = 0.343.
    expected = torch.tensor([0.0830, 0.7046, 0.0, 0.2123])
    torch.testing.assert_close(
        told([0.45, 0.40, 0.05, 0.10], [0.1, 0.9], [1, 1], [0.25, 0.25]), expected, atol=1e-4, rtol=0
    )


def test_of_two_that_hold_the_click_the_smaller_and_more_typical_is_meant() -> None:
    smaller = told([0.4, 0.4, 0.2], [1, 1], [0.5, 0.5], [0.36, 0.04])
    assert float(smaller[1] / smaller[0]) == pytest.approx(3)  # the root of 9
    typical = told([0.4, 0.4, 0.2], [1, 1], [0.1, 0.9], [0.1, 0.1])
    assert float(typical[1] / typical[0]) == pytest.approx(3)


def test_a_click_that_no_outline_holds_shows_a_region_without_a_name() -> None:
    assert told([0.6, 0.3, 0.1], [0, 0], [1, 1], [0.1, 0.1])[-1] > 0.85
    assert told([0.6, 0.3, 0.1], [1, 0], [1, 1], [0.1, 0.1])[-1] < 0.15


PAIR = st.lists(FRACTIONS, min_size=2, max_size=2)


@given(st.lists(FRACTIONS, min_size=4, max_size=4), PAIR, PAIR, PAIR)
def test_chances_stay_chances(weights: list[float], held: list[float], alike: list[float], area: list[float]) -> None:
    chances = (torch.tensor(weights) + 1e-3) / (sum(weights) + 4e-3)
    found = told(chances.tolist(), held, alike, area)
    assert float(found.sum()) == pytest.approx(1, abs=1e-5)
    assert float(found.min()) >= 0
    more = told(chances.tolist(), [1.0, held[1]], alike, area)  # a name that holds more of the click is not less likely
    assert more[0] >= found[0] - 1e-6


def test_clicks_tell_neighbours_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """One name outlines the left half, the others nothing: a click there shows it, one on the right does not. Without one, and
    in training, chances stay as they are."""
    predictor = MimoPredictor.from_pretrained(SHIPPED / "lite")
    model, names = predictor.model, predictor.model.region_names
    image = predictor.encode(draw_chest()[0])
    chances = torch.full((1, len(names.names)), 0.2 / (len(names.names) - 2))
    chances[0, [3, 5]] = 0.4

    def outlines(features: object, image_index: torch.Tensor, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = torch.full((len(ids), 64, 64), -20.0)
        logits[ids == 5, :, :32] = 20.0
        return logits, torch.ones(len(ids))

    def clicked(points: list[tuple[int, int, int]], boxes: list[tuple[int, int, int, int]]) -> torch.Tensor:
        encoded = predictor.conversation.encode("", image.resize, points, boxes)
        batch = collate_questions([encoded], [0], model.tokenizer.pad_token_id, generate=True)
        return model.by_clicks(image.features, batch, chances)

    monkeypatch.setattr(model, "outline_names", outlines)
    monkeypatch.setattr(names, "chances", lambda *given: torch.full((len(given[1]), len(names.names)), 0.5))
    height, width = image.resize.height, image.resize.width
    left, right = (width // 4, height // 2, 1), (width * 3 // 4, height // 2, 1)
    assert clicked([left], [])[0, 5] > 0.7
    assert clicked([left], [])[0, 3] < 0.1
    assert clicked([right], [])[0].argmax() == names.region_id
    assert torch.equal(clicked([], [(10, 10, 60, 60)]), chances)
    assert torch.equal(clicked([left], [(10, 10, 60, 60)]), chances)  # a box shows more than a click
    monkeypatch.setattr(model, "training", True)
    assert torch.equal(clicked([left], []), chances)
