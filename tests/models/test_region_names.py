"""Names of regions: by their looks, and by where they were clicked."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monai_mimo.data.conversation import collate_questions
from monai_mimo.inference import MimoPredictor
from monai_mimo.models.default_weights import SHIPPED
from monai_mimo.models.region_names import HELD, told_by_clicks
from monai_mimo.phantom.draw_pictures import draw_chest

FRACTIONS = st.floats(0, 1)


def test_of_two_that_look_alike_the_one_that_holds_the_click_is_meant() -> None:
    chances = torch.tensor([[0.45, 0.40, 0.05, 0.10]])
    told = told_by_clicks(chances, torch.tensor([[0, 1]]), torch.tensor([[0.1, 0.9]]))
    # By hand: the 0.85 of the two names are shared as 0.045 to 0.36, which is 1 to 8.
    torch.testing.assert_close(told, torch.tensor([[0.85 / 9, 0.85 * 8 / 9, 0.05, 0.10]]))


def test_a_click_that_no_outline_holds_shows_a_region_without_a_name() -> None:
    chances, both = torch.tensor([[0.6, 0.3, 0.1]]), torch.tensor([[0, 1]])
    torch.testing.assert_close(told_by_clicks(chances, both, torch.zeros(1, 2)), torch.tensor([[0.0, 0.0, 1.0]]))
    half = told_by_clicks(chances, both, torch.full((1, 2), HELD))
    torch.testing.assert_close(half, torch.tensor([[0.3, 0.15, 0.55]]))


@given(st.lists(FRACTIONS, min_size=4, max_size=4), st.lists(FRACTIONS, min_size=2, max_size=2))
def test_chances_stay_chances(weights: list[float], held: list[float]) -> None:
    chances = (torch.tensor([weights]) + 1e-3) / (sum(weights) + 4e-3)
    likeliest = chances[:, :-1].topk(2).indices
    told = told_by_clicks(chances, likeliest, torch.tensor([held]))
    assert float(told.sum()) == pytest.approx(1, abs=1e-5)
    assert float(told.min()) >= -1e-6
    assert float(told[0, :-1].sum()) <= float(chances[0, :-1].sum()) + 1e-5


def test_clicks_tell_neighbours_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """One name outlines the left half, the others nothing: a click there shows it, one on the right does not. Without one, and
    in training, chances stay as they are."""
    predictor = MimoPredictor.from_pretrained(SHIPPED / "lite")
    model, names = predictor.model, predictor.model.region_names
    image = predictor.encode(draw_chest()[0])
    chances = torch.full((1, len(names.names)), 0.2 / (len(names.names) - 2))
    chances[0, [3, 5]] = 0.4

    def outlines(features: object, image_index: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        logits = torch.full((len(ids), 64, 64), -20.0)
        logits[ids == 5, :, :32] = 20.0
        return logits

    def told(points: list[tuple[int, int, int]], boxes: list[tuple[int, int, int, int]]) -> torch.Tensor:
        encoded = predictor.conversation.encode("", image.resize, points, boxes)
        batch = collate_questions([encoded], [0], model.tokenizer.pad_token_id, generate=True)
        return model.by_clicks(image.features, batch, chances)

    monkeypatch.setattr(model, "outline_names", outlines)
    height, width = image.resize.height, image.resize.width
    left, right = (width // 4, height // 2, 1), (width * 3 // 4, height // 2, 1)
    assert told([left], [])[0, 5] > 0.7
    assert told([left], [])[0, 3] < 0.05
    assert told([right], [])[0].argmax() == names.region_id
    assert torch.equal(told([], [(10, 10, 60, 60)]), chances)
    assert torch.equal(told([left], [(10, 10, 60, 60)]), chances)  # a box shows more than a click
    monkeypatch.setattr(model, "training", True)
    assert torch.equal(told([left], []), chances)
