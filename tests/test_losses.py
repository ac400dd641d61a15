"""The training loss against closed forms."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from monai_mimo.data.conversation import IGNORE
from monai_mimo.losses import MimoLoss, Targets
from monai_mimo.models.outputs import Prediction

LABELS = torch.tensor([[IGNORE, IGNORE, 5, 2, 7, 3, 1], [IGNORE, 4, 2, 8, 9, 3, IGNORE]])  # 2 and 3 are <p> and </p>
ANSWERED = LABELS[LABELS != IGNORE]


def mean_over_answers(logits: torch.Tensor) -> torch.Tensor:
    """The answers are the first and the second five tokens."""
    each = F.cross_entropy(logits, ANSWERED, reduction="none")
    return (each[:5].mean() + each[5:].mean()) / 2


def prediction(masks: torch.Tensor, logits: torch.Tensor | None = None) -> Prediction:
    text = torch.randn(len(ANSWERED), 12, generator=torch.manual_seed(0))
    mask_logits = torch.zeros(len(masks), 4, 4) if logits is None else logits
    return Prediction(text, mask_logits, torch.zeros(len(masks)))


def test_untrained_values() -> None:
    """All logits zero: BCE is ln 2, soft Dice of a half-full mask is 1 - (8 / 16), the score's error is IoU squared."""
    masks = torch.zeros(2, 8, 8, dtype=torch.bool)
    masks[:, :4] = True
    out = prediction(masks)
    loss = MimoLoss()
    total = loss(out, Targets(LABELS, masks))
    text = mean_over_answers(out.text_logits).item()
    assert loss.parts["bce"] == pytest.approx(0.693147, abs=1e-5)
    assert loss.parts["dice"] == pytest.approx(1 - 2 * 16 / (32 + 32), abs=1e-4)
    assert loss.parts["score"] == 0  # no logit is above zero, so nothing is covered
    assert loss.parts["text"] == pytest.approx(text)
    assert total.item() == pytest.approx(text + 2 * 0.693147 + 0.5 * loss.parts["dice"].item(), abs=1e-5)


def test_perfect_masks() -> None:
    masks = torch.zeros(1, 4, 4, dtype=torch.bool)
    masks[:, :2] = True
    logits = torch.where(masks, 50.0, -50.0)
    loss = MimoLoss()
    loss(prediction(masks, logits), Targets(LABELS, masks))
    assert loss.parts["bce"] < 1e-6
    assert loss.parts["dice"] < 1e-4
    assert loss.parts["score"] == pytest.approx(1)  # IoU is 1 and the predicted one 0


def test_without_masks_nothing_but_text() -> None:
    out = prediction(torch.zeros(0, 4, 4))
    out.mask_logits.requires_grad_()
    total = MimoLoss()(out, Targets(LABELS, torch.zeros(0, 4, 4, dtype=torch.bool)))
    assert total.item() == pytest.approx(mean_over_answers(out.text_logits).item())
    total.backward()  # the mask decoder stays in the graph
    assert out.mask_logits.grad is not None


def test_phrases_weigh_more() -> None:
    """By hand: of the answers' tokens, 7 and then 8, 9 stand in phrases."""
    none = torch.zeros(0, 4, 4, dtype=torch.bool)
    out = prediction(none)
    each = F.cross_entropy(out.text_logits, ANSWERED, reduction="none")
    weights = torch.tensor([1.0, 1, 5, 1, 1, 1, 1, 5, 5, 1])
    weights[:5] /= 9
    weights[5:] /= 13
    loss = MimoLoss(phrase=5, phrase_tokens=(2, 3))(out, Targets(LABELS, none))
    assert loss.item() == pytest.approx((weights * each).sum().item() / 2, rel=1e-5)


def test_kinds_of_words_count_alike() -> None:
    """Six words that name nothing weigh as much as one that names what is there and one that names what is not."""
    logits, presence = torch.randn(2, 5, 3), torch.tensor([[0, 0, 0, 1, 2], [0, 0, 0, IGNORE, IGNORE]])
    log = logits.log_softmax(-1)
    nothing = torch.zeros(0, 4, 4)
    prediction = Prediction(torch.zeros(1, 8), nothing, torch.zeros(0), presence_logits=logits)
    loss = MimoLoss(presence=1.0)
    loss(prediction, Targets(torch.tensor([[IGNORE, 3]]), nothing.bool(), presence))
    unnamed = -log[:, :3, 0].mean()
    expected = (unnamed - log[0, 3, 1] - log[0, 4, 2]) / 3
    assert loss.parts["presence"] == pytest.approx(expected.item(), rel=1e-5)
