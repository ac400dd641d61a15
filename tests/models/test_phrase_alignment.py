"""Prompt tokens beside the phrases they mean, by hand."""

from __future__ import annotations

import pytest
import torch

from monai_mimo.data.conversation import IGNORE
from monai_mimo.data.prompt_maps import BOX_BOTTOM_RIGHT, BOX_TOP_LEFT, PADDING, POSITIVE
from monai_mimo.losses import MimoLoss, Targets
from monai_mimo.models.outputs import Prediction
from monai_mimo.models.phrase_alignment import Alignment, align, pair, phrase_directions

START, END = 1, 2
WORDS = torch.eye(8)


def test_pairs_and_cosines() -> None:
    """Words are unit vectors. Question 0 has two boxes on phrases [4] and [5, 6]; question 1 a point on [4];
    question 2 names [7] and has no prompt."""
    labels = torch.tensor(
        [
            [IGNORE, 3, START, 4, END, START, 5, 6, END],
            [IGNORE, IGNORE, 3, START, 4, END, IGNORE, IGNORE, IGNORE],
            [START, 7, END, 3, 3, 3, IGNORE, IGNORE, IGNORE],
        ]
    )
    prompt_labels = torch.tensor(
        [
            [BOX_TOP_LEFT, BOX_BOTTOM_RIGHT, BOX_TOP_LEFT, BOX_BOTTOM_RIGHT],
            [POSITIVE, PADDING, PADDING, PADDING],
            [PADDING] * 4,
        ]
    )
    tokens = torch.zeros(3, 4, 8)
    tokens[0, :, 4] = 2.0
    tokens[1, 0, 5] = 3.0
    phrases = phrase_directions(labels, WORDS, (START, END))
    is_token, is_first = prompt_labels != PADDING, (prompt_labels != PADDING) & (prompt_labels != BOX_BOTTOM_RIGHT)
    paired, own = pair(is_token, is_first, torch.tensor([2, 1, 1]))
    logits, targets = align(tokens[paired], own, phrases)
    a, b = [1, 0, 1, 0], [0, 1, 0, 0]  # phrases of the batch in order: [4], [5, 6], [4], [7]
    assert targets.int().tolist() == [a, a, b, b, a]
    like_4 = [20.0, 0, 20, 0]
    torch.testing.assert_close(logits[:4], torch.tensor([like_4] * 4))
    torch.testing.assert_close(logits[4], torch.tensor([0, 20 / 2**0.5, 0, 0]))


def test_questions_that_do_not_pair_are_left_out() -> None:
    tokens = torch.ones(3, 1, dtype=torch.bool)
    paired, own = pair(tokens, tokens, torch.tensor([2, 0, 1]))
    assert paired.tolist() == [[False], [False], [True]]
    assert own.tolist() == [2]


def test_loss_is_the_log_of_the_share_of_the_right_phrases() -> None:
    logits = torch.tensor([[1.0, 2.0, 3.0], [0.5, 0.0, 0.0]])
    targets = torch.tensor([[True, False, True], [False, True, False]])
    shares = [(logits[0].exp()[[0, 2]].sum() / logits[0].exp().sum()), logits[1].exp()[1] / logits[1].exp().sum()]
    expected = -sum(s.log().item() for s in shares) / 2
    nothing = torch.zeros(0, 4, 4)
    labels = torch.tensor([[IGNORE, 3]])
    prediction = Prediction(torch.zeros(1, 8), nothing, torch.zeros(0), Alignment(logits, targets))
    loss = MimoLoss(alignment=1.0)
    total = loss(prediction, Targets(labels, nothing.bool()))
    assert loss.parts["alignment"] == pytest.approx(expected)
    assert total.item() == pytest.approx(expected + torch.log(torch.tensor(8.0)).item())
