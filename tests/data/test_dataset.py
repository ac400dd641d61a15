"""Rows of a built set become items and batches whose masks and prompts stay together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.transforms import Compose, RandFlipd, RandGaussianNoised
from PIL import Image

from monai_mimo.data.conversation import ABSENT, PRESENT
from monai_mimo.data.dataset import (
    Augment,
    Batch,
    MimoSegDataset,
    Moves,
    Steps,
    all_moves,
    collate,
    first_sentences,
    moves_of,
    rows_by_image,
)
from monai_mimo.data.order import Draw, TrainingOrder
from monai_mimo.data.prompt_maps import BOX_TOP_LEFT, PADDING, POSITIVE
from monai_mimo.data.step_loader import StepLoader
from monai_mimo.errors import InputError
from monai_mimo.mimoseg.encoding import encode_rle
from monai_mimo.models import Mimo


class FakeRows(list):
    """What `datasets` gives, as far as the dataset needs it."""

    def __getitem__(self, key):
        return [row[key] for row in self] if isinstance(key, str) else list.__getitem__(self, key)


@pytest.fixture
def rows() -> FakeRows:
    """Two images, each a bright square for each entity, so that pixels tell the mask; three questions each."""
    out = []
    for number, (h, w) in enumerate([(48, 64), (64, 40)]):
        masks = []
        for place in (4, 26):
            mask = np.zeros((h, w), dtype=bool)
            mask[place : place + 14, place : place + 12] = True
            masks.append({"phrase": "liver" if place == 4 else "spleen", "mask": encode_rle(mask)})
        pixels = np.zeros((h, w, 3), np.uint8)
        pixels[4:18, 4:16] = 255
        base = {"image": Image.fromarray(pixels), "image_id": str(number), "points": [], "boxes": [], "absent": []}
        base |= {"source": "a", "modality": "CT" if number == 0 else "MR"}
        out += [
            {**base, "question": "Where?", "answer": "<p> liver </p> <SEG> <p> spleen </p> <SEG>", "entities": masks},
            {
                **base,
                "question": "At <point>?",
                "answer": "<p> liver </p> <SEG>",
                "entities": masks[:1],
                "points": [[9, 9, 1]],
            },
            {
                **base,
                "question": "In <box>?",
                "answer": "<p> liver </p> <SEG>",
                "entities": masks[:1],
                "boxes": [[4, 4, 16, 18]],
            },
        ]
    return FakeRows(out)


def test_items_in_the_square(nano: Mimo, rows: FakeRows) -> None:
    dataset = MimoSegDataset(rows, nano.conversation(), 64)
    assert len(dataset) == 2
    for item in dataset:
        assert item.image.shape == (3, 64, 64)
        assert item.masks.shape == (2, 64, 64)
        assert item.entities == [[0, 1], [0], [0]]
        assert ((item.image[0] > 0.5) == item.masks[0]).float().mean() > 0.995
        x, y = item.questions[1].coordinates[0]
        assert item.masks[0][int(y), int(x)]


def test_augmented_prompts_follow_the_moved_mask(nano: Mimo, rows: FakeRows) -> None:
    item = MimoSegDataset(rows, nano.conversation(), 64)[0]
    augment = Augment()
    augment.set_random_state(1)
    coordinates = set()
    for _ in range(20):
        moved = augment(item)
        assert ((moved.image[0] > 0.5) == moved.masks[0]).float().mean() > 0.95
        x, y = moved.questions[1].coordinates[0]
        assert moved.masks[0][int(y), int(x)]
        (x0, _), (x1, y1) = moved.questions[2].coordinates
        ys, xs = np.nonzero(moved.masks[0].numpy())
        assert abs(x0 - xs.min()) <= 2
        assert abs(y1 - ys.max() - 1) <= 2
        assert x0 < x1
        coordinates.add((float(x), float(y)))
    assert len(coordinates) > 10


def test_a_draw_keeps_questions_with_their_entities(nano: Mimo, rows: FakeRows) -> None:
    dataset = MimoSegDataset(rows, nano.conversation(), 64, cache=2)
    whole, drawn = dataset[1], dataset.drawn(Draw(1, (2, 0), 5))
    assert drawn.rows == [5, 3]
    assert [q is whole.questions[n] for q, n in zip(drawn.questions, (2, 0))] == [True, True]
    assert drawn.entities == [whole.entities[2], whole.entities[0]]


def test_collate_pads_and_orders_masks(nano: Mimo, rows: FakeRows) -> None:
    dataset = MimoSegDataset(rows, nano.conversation(), 64)
    batch = collate([dataset[0], dataset[1]], nano.tokenizer.pad_token_id)
    questions = batch.questions
    assert questions.image_index.tolist() == [0, 0, 0, 1, 1, 1]
    assert batch.rows == [0, 1, 2, 3, 4, 5]
    assert len(batch.masks) == (questions.labels == nano.seg_id).sum() == 8
    expected = [dataset[i].masks[m] for i in (0, 1) for entities in dataset[i].entities for m in entities]
    assert all(torch.equal(a, b) for a, b in zip(batch.masks, expected))
    assert questions.prompt_labels[1].tolist() == [POSITIVE, PADDING]
    assert questions.prompt_labels[2].tolist() == [BOX_TOP_LEFT, BOX_TOP_LEFT + 1]
    assert questions.attention_mask.sum(1).tolist() == [
        len(q.prompt_ids) + len(q.answer_ids) for i in (0, 1) for q in dataset[i].questions
    ]


def test_generation_batches_end_with_the_question(nano: Mimo, rows: FakeRows) -> None:
    dataset = MimoSegDataset(rows, nano.conversation(), 64, with_answers=False)
    batch = collate([dataset[0]], nano.tokenizer.pad_token_id, generate=True).questions
    assert (batch.attention_mask[:, -1] == 1).all()
    for q, ids in enumerate(batch.input_ids):
        assert ids[-len(dataset[0].questions[q].prompt_ids) :].tolist() == dataset[0].questions[q].prompt_ids


@pytest.mark.parametrize("workers", [0, 2])
def test_steps_are_the_same_from_wherever_they_start(nano: Mimo, rows: FakeRows, workers: int) -> None:
    """Whatever the state of the random generators, in this process or in others, and whatever was loaded before."""

    def load(start: int, count: int, workers: int = 0) -> list[Batch]:
        dataset = MimoSegDataset(rows, nano.conversation(), 64, augment=Augment(), cache=1)
        order = TrainingOrder(
            rows, dataset.data, global_batch=2, images_per_batch=1, questions_per_image=2, balanced=True
        )
        loader = StepLoader(Steps(dataset, order, nano.tokenizer.pad_token_id, 0, 1), workers)
        loader.start_at(start)
        return [batch for _, batches in zip(range(count), loader) for batch in batches]

    np.random.seed(1)  # noqa: NPY002
    expected = load(0, 6)[8:]
    np.random.seed(2)  # noqa: NPY002
    torch.manual_seed(3)
    for a, b in zip(load(4, 2, workers), expected, strict=True):
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.questions.coordinates, b.questions.coordinates)
        assert a.rows == b.rows
    assert not torch.equal(expected[0].images, load(0, 1)[0].images)


def test_rows_by_image(rows: FakeRows) -> None:
    assert rows_by_image(rows) == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "It is the <p> liver </p> <SEG>. It makes bile. It is large."),
        (1, "It is the <p> liver </p> <SEG>."),
        (2, "It is the <p> liver </p> <SEG>. It makes bile."),
        (9, "It is the <p> liver </p> <SEG>. It makes bile. It is large."),
    ],
)
def test_answers_are_cut_after_whole_sentences(count: int, expected: str) -> None:
    assert first_sentences("It is the <p> liver </p> <SEG>. It makes bile. It is large.", count) == expected


def test_no_mask_is_cut_off() -> None:
    answer = (
        "I see two. One is the <p> liver </p> <SEG>. It is large. Below lies the <p> spleen </p> <SEG>. It is small."
    )
    assert first_sentences(answer, 1) == answer.removesuffix(" It is small.")


@pytest.mark.parametrize(
    ("modality", "question", "kind", "expected"),
    [
        ("endoscopy", "Where is the polyp?", "", (True, True, True)),
        ("ultrasound", "Where is the nerve?", "", (True, False, True)),
        ("ultrasound", "Where is the left kidney?", "", (False, False, True)),
        ("CT", "Where is the liver?", "", (False, False, True)),
        ("endoscopy", "Is the polyp there?", "present", (True, True, True)),
        ("endoscopy", "Is this the polyp, <point>?", "marked", (True, True, True)),
        ("endoscopy", "How many polyps are there?", "count", (False, False, False)),
        ("endoscopy", "In which quarter of the image does the polyp lie?", "quarter", (False, False, False)),
        ("dermoscopy", "How much of the image does the skin lesion cover?", "area_percent", (False, False, False)),
    ],
)
def test_images_are_moved_where_anatomy_and_answer_allow(
    modality: str, question: str, kind: str, expected: tuple[bool, bool, bool]
) -> None:
    row = {"question": question, "answer": "Here.", "modality": modality}
    assert moves_of({**row, "value": {"kind": kind, "answer": ""}}) == expected
    if not kind:
        assert moves_of(row) == expected  # a set that was built before


def test_an_image_is_moved_as_all_of_its_questions_allow() -> None:
    assert all_moves([Moves(True, True), Moves(True, False)]) == (True, False, True)
    assert all_moves([Moves(True, True), Moves(True, True, False)]) == (True, True, False)


def test_a_place_or_size_keeps_the_image_where_it_is(nano: Mimo, rows: FakeRows) -> None:
    """And only where it is asked for: another question about the same image has it moved."""
    rows[1]["value"] = {"kind": "area_percent", "answer": "5.5"}
    dataset = MimoSegDataset(rows, nano.conversation(), 64, augment=Augment())
    masks = dataset[0].masks
    assert all(torch.equal(dataset.drawn(Draw(0, (1,), seed)).masks, masks) for seed in range(6))
    assert not all(torch.equal(dataset.drawn(Draw(0, (0,), seed)).masks, masks) for seed in range(6))


def test_names_of_what_another_question_shows_are_known_to_be_there(nano: Mimo, rows: FakeRows) -> None:
    """ "Is this the spleen?" of the liver: the spleen is in the image, though this answer does not ground it."""
    rows[1] |= {"question": "Is this the spleen or the tumor, <point>?", "absent": ["tumor"]}
    question = MimoSegDataset(rows, nano.conversation(), 64)[0].questions[1]
    said = nano.tokenizer.convert_ids_to_tokens(question.instruction_ids)
    text = {kind: "".join(t for t, p in zip(said, question.presence) if p == kind) for kind in (PRESENT, ABSENT)}
    assert "spleen" in text[PRESENT]
    assert "tumor" in text[ABSENT]


def test_transforms_of_the_user_change_image_and_masks(rows: FakeRows, nano: Mimo) -> None:
    """Dictionary transforms of MONAI, random in the way of the draw: the liver stays where it is bright."""
    own = Compose(
        [RandFlipd(["image", "masks"], prob=1, spatial_axis=1), RandGaussianNoised("image", prob=1, std=0.02)]
    )
    dataset = MimoSegDataset(rows, nano.conversation(), 64, augment=Augment(transforms=own))
    plain = MimoSegDataset(rows, nano.conversation(), 64, augment=Augment())
    for seed in range(5):
        item, again = (dataset.drawn(Draw(0, (0, 1), seed)) for _ in range(2))
        assert torch.equal(item.image, again.image)
        assert item.masks.dtype == torch.bool
        bright, liver = item.image.mean(0) > 0.5, item.masks[0]
        assert (bright & liver).sum() > 0.8 * (bright | liver).sum()
        left = liver.nonzero()[:, 1].float().mean()
        assert left > 32 > plain.drawn(Draw(0, (0, 1), seed)).masks[0].nonzero()[:, 1].float().mean()
    assert not torch.equal(item.image, dataset.drawn(Draw(0, (0, 1), 99)).image)


def test_transforms_that_change_the_size_are_refused(rows: FakeRows, nano: Mimo) -> None:
    smaller = Augment(transforms=lambda data: {**data, "image": data["image"][:, :32]})
    dataset = MimoSegDataset(rows, nano.conversation(), 64, augment=smaller)
    with pytest.raises(InputError, match=r"transforms: found image \[3, 32, 64\]"):
        dataset.drawn(Draw(0, (0,), 0))
