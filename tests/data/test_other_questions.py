"""Other questions fit their answers and their images: what is unknown is refused, and what has no name is a place without one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch
from datasets import Dataset

from monai_mimo.data.conversation import Conversation, EncodedQuestion
from monai_mimo.data.names import REGION, KnownNames
from monai_mimo.data.other_questions import OtherQuestions, free_region, held_out_names
from monai_mimo.data.tokenizer import train_tokenizer
from monai_mimo.mimoseg.encoding import encode_rle
from monai_mimo.transforms.resize import SquareResize

SIDE = 64
NAMES = ("liver", "spleen")
SIZE = (96, 64)
LIVER = (slice(8, 40), slice(6, 30))  # in pixels of the image


def image() -> np.ndarray:
    """A dark image with a bright liver and two further bright squares."""
    pixels = np.zeros((*SIZE, 3), np.uint8)
    for place in (LIVER, (slice(60, 80), slice(8, 26)), (slice(50, 90), slice(38, 58))):
        pixels[place] = 200
    return pixels


@pytest.fixture(scope="module")
def rows() -> Dataset:
    mask = np.zeros(SIZE, dtype=bool)
    mask[LIVER] = True
    base = {"image": image(), "size": list(SIZE), "source": "a", "modality": "CT", "points": [], "boxes": []}
    shown = {"entities": [{"phrase": "liver", "mask": encode_rle(mask)}], "absent": []}
    gone = {"entities": [], "absent": ["spleen"]}
    answer = "This is the <p> liver </p> <SEG>."
    made = [
        {**base, **gone, "perspective": 1, "question": "Where is the spleen?", "answer": "There is no spleen here."},
        {**base, **shown, "perspective": 1, "question": "Where is the liver?", "answer": answer},
        {
            **base,
            **shown,
            "perspective": 2,
            "question": "What is <point>?",
            "answer": answer,
            "points": [[10.0, 10.0, 1.0]],
        },
        {
            **base,
            **shown,
            "perspective": 2,
            "question": "What is in <box>?",
            "answer": answer,
            "boxes": [[6.0, 8, 30, 40]],
        },
    ]
    return Dataset.from_list(made)


@pytest.fixture(scope="module")
def draw(rows: Dataset) -> Callable[[int], list[tuple[EncodedQuestion, list[int], torch.Tensor]]]:
    """What a row is exchanged for, 300 times."""
    texts = [*rows["question"], *rows["answer"], "I have no name for this region. kidney"]
    conversation = Conversation(train_tokenizer(texts, 600), 4, 200, (*NAMES, REGION), SIDE)
    others = OtherQuestions(rows, conversation, KnownNames(dict.fromkeys(NAMES, ())), SIDE)
    resize = SquareResize(*SIZE, SIDE)
    pixels = resize.image(image())
    mask = np.zeros((1, *SIZE), dtype=bool)
    mask[0][LIVER] = True
    masks = resize.masks(mask)

    def drawn(number: int) -> list[tuple[EncodedQuestion, list[int], torch.Tensor]]:
        row = rows[number]
        entities = [0] if row["entities"] else []
        question = conversation.encode(row["question"], resize, row["points"], row["boxes"], row["answer"], {})
        return [
            others.exchange(number, question, entities, pixels, masks, np.random.default_rng(seed))
            for seed in range(300)
        ]

    drawn.text = lambda ids: conversation.tokenizer.decode(ids).strip()  # type: ignore[attr-defined]
    return drawn


def test_names_that_are_absent_are_exchanged_for_unknown_ones(draw) -> None:
    held, asked = set(held_out_names()), Counter()
    for question, entities, _ in draw(0):
        text, answer = draw.text(question.instruction_ids), draw.text(question.answer_ids)
        assert entities == []
        assert question.seg_names == []
        assert "liver" not in text
        if text.startswith("Where is the ") and answer.startswith("There is no "):
            name = text.removeprefix("Where is the ").rstrip("? ")
            assert name in answer
            assert name not in held
            asked["spleen" if name == "spleen" else "unknown"] += 1
        else:
            asked["off topic"] += 1
    assert 80 < asked["unknown"] < 150
    assert 3 <= asked["off topic"] <= 30
    assert asked["spleen"] > 120


def test_questions_that_name_what_is_there_stay(draw) -> None:
    assert {draw.text(question.instruction_ids) for question, _, _ in draw(1)} == {"Where is the liver?"}


@pytest.mark.parametrize("number", [2, 3])
def test_prompts_also_show_places_without_a_name(draw, number: int) -> None:
    counts = Counter()
    for question, entities, masks in draw(number):
        if entities == [0]:
            assert len(masks) == 1
            counts["named"] += 1
            continue
        counts["unnamed"] += 1
        region, known = masks[entities[0]], masks[0]
        assert not (region & known).any()
        assert not region[:, int(SIDE * SIZE[1] / SIZE[0]) + 1 :].any()  # the padding of the square
        assert question.seg_names == [len(NAMES)]
        assert REGION in draw.text(question.answer_ids)
        rows, columns = np.nonzero(region.numpy())
        if number == 2:
            x, y = question.coordinates[0]
            assert region[int(y), int(x)]
        else:
            (x0, y0), (x1, y1) = question.coordinates
            middle = (columns.min() + columns.max() + 1) / 2, (rows.min() + rows.max() + 1) / 2
            assert x0 <= middle[0] <= x1
            assert y0 <= middle[1] <= y1
    assert 50 < counts["unnamed"] < 130


def test_an_image_that_is_labelled_all_over_has_no_free_region() -> None:
    pixels = torch.rand(3, SIDE, SIDE)
    masks = torch.ones(1, SIDE, SIDE, dtype=torch.bool)
    assert free_region(pixels, masks, (SIDE, SIDE), np.random.default_rng(0)) is None
