"""Questions become tokens with each prompt at its place, in the coordinates of the model's input."""

from __future__ import annotations

import numpy as np
import pytest

from monai_mimo.data.conversation import place_markers
from monai_mimo.data.prompt_maps import BOX_BOTTOM_RIGHT, BOX_TOP_LEFT, NEGATIVE, POSITIVE
from monai_mimo.errors import InputError
from monai_mimo.models import Mimo

from ..conftest import encode


def test_prompts_follow_the_order_of_their_markers(nano: Mimo) -> None:
    question = encode(
        nano,
        "Is <box> beside <point> or <point>?",
        size=(64, 64),
        points=[(1, 2, 1), (5, 6, 0)],
        boxes=[(10, 20, 30, 40)],
    )
    assert question.labels.tolist() == [BOX_TOP_LEFT, BOX_BOTTOM_RIGHT, POSITIVE, NEGATIVE]
    # The model's side is the image's: corners stay, points move to the middle of their pixel.
    np.testing.assert_allclose(question.coordinates, [(10, 20), (30, 40), (1.5, 2.5), (5.5, 6.5)])
    placeholders = [i for i in question.prompt_ids if i in (nano.point_id, nano.box_id)]
    assert placeholders == [nano.box_id, nano.box_id, nano.point_id, nano.point_id]


def test_unnamed_prompts_are_appended() -> None:
    assert place_markers("What is <box>?", points=1, boxes=2) == "What is <box>? <point> <box>"


def test_more_markers_than_prompts() -> None:
    with pytest.raises(InputError, match=r"2 <point> markers; expected at most the 1 given"):
        place_markers("<point> <point>", points=1, boxes=0)


def test_layout_of_a_sequence(nano: Mimo) -> None:
    question = encode(nano, "What lies at <point>?", "It is the <p> liver </p> <SEG>.", points=[(0, 0, 1)])
    ids = question.prompt_ids
    assert ids[0] == nano.tokenizer.bos_token_id
    assert ids.count(nano.image_id) == nano.config.aligner.queries
    assert nano.tokenizer.decode(ids, skip_special_tokens=True).split() == [
        "USER:",
        "What",
        "lies",
        "at",
        "?",
        "ASSISTANT:",
    ]
    assert nano.tokenizer.decode(question.instruction_ids).split() == ["What", "lies", "at", "?"]
    assert question.answer_ids[-1] == nano.tokenizer.eos_token_id
    assert question.answer_ids.count(nano.seg_id) == 1


def test_a_question_longer_than_the_context(nano: Mimo) -> None:
    with pytest.raises(InputError, match=r"question: found \d+ tokens; expected at most"):
        encode(nano, "why " * 500)


def test_a_long_explanation_is_cut_and_a_long_list_is_not(nano: Mimo) -> None:
    context = nano.config.language_model.architecture["max_position_embeddings"]
    start = "It is the <p> liver </p> <SEG>."
    whole = encode(nano, "What?", start + " It is so." * 4)
    cut = encode(nano, "What?", start + " It is so." * 400)
    assert len(cut.prompt_ids) + len(cut.answer_ids) == context
    assert cut.answer_ids[: len(whole.answer_ids) - 1] == whole.answer_ids[:-1]
    assert whole.answer_ids[-1] == nano.tokenizer.eos_token_id != cut.answer_ids[-1]
    with pytest.raises(InputError, match=r"question: found \d+ tokens"):
        encode(nano, "What?", f"{'It is so. ' * 400} {start}")


def test_any_text_can_be_encoded(nano: Mimo) -> None:
    text = "Où est le foie? 肝臓 🩻"
    assert nano.tokenizer.decode(encode(nano, text).instruction_ids).strip() == text
