"""The order of training: what is asked how often, and the same however it is divided."""

from __future__ import annotations

from collections import Counter
from itertools import chain

import numpy as np
import pytest
from datasets import Dataset

from monai_mimo.data.dataset import rows_by_image
from monai_mimo.data.order import Draw, TrainingOrder
from monai_mimo.errors import InputError


def make_rows(images: int = 23, most: int = 4) -> Dataset:
    """Images with 1 to `most` questions of unequal length, of three perspectives, two modalities and two sets."""
    rng = np.random.default_rng(1)
    rows = []
    for image in range(images):
        for n in range(1 + image % most):
            rows.append(
                {
                    "id": f"{image}/{n}",
                    "image_id": str(image),
                    "question": "a" * int(rng.integers(1, 60)),
                    "answer": "b" * int(rng.integers(1, 60)),
                    "perspective": (0, 1, 2)[n % 3],
                    "modality": "CT" if image % 5 else "MR",
                    "source": "s",
                    "set": "large" if image < 18 else "small",
                }
            )
    return Dataset.from_list(rows)


def order_of(rows: Dataset, **changes) -> TrainingOrder:
    options = {"global_batch": 6, "images_per_batch": 2, "questions_per_image": 2, **changes}
    return TrainingOrder(rows, rows_by_image(rows), **options)


def asked(groups: list[list[int]], draws: list[Draw]) -> list[int]:
    return [groups[draw.image][question] for draw in draws for question in draw.questions]


def flat(step: list[list[Draw]]) -> list[Draw]:
    return list(chain.from_iterable(step))


@pytest.mark.parametrize("window", [1, 3])
def test_a_pass_asks_every_question_once(window: int) -> None:
    rows = make_rows()
    order, groups = order_of(rows, window=window), rows_by_image(rows)
    orders = []
    for number in range(2):
        steps = [flat(order.step(number * order.steps_per_pass + n)) for n in range(order.steps_per_pass)]
        assert sorted(chain.from_iterable(asked(groups, step) for step in steps)) == list(range(len(rows)))
        assert sum(len(step) for step in steps) == sum(-(-len(g) // 2) for g in groups)
        if window == 1:
            assert {len(step) for step in steps[:-1]} == {6}
        orders.append(steps)
    assert orders[0] != orders[1]


@pytest.mark.parametrize("processes", [1, 2, 3, 5])
@pytest.mark.parametrize("balanced", [True, False])
def test_shares_add_up_to_the_step_and_are_equally_many(processes: int, balanced: bool) -> None:
    rows = make_rows()
    order, again = order_of(rows, balanced=balanced), order_of(rows, balanced=balanced)
    for number in (*range(order.steps_per_pass + 2), 1):  # also back to a step of before
        shares = [again.share(number, rank, processes) for rank in range(processes)]
        assert len({len(share.batches) for share in shares}) == 1
        counted = [b for share in shares for b, counts in zip(share.batches, share.counted) if counts]
        assert sorted(chain.from_iterable(counted)) == sorted(flat(order.step(number)))
        assert all(0 < len(batch) <= 2 for share in shares for batch in share.batches)


def test_another_seed_is_another_order() -> None:
    rows = make_rows()
    assert order_of(rows, seed=0).step(0) == order_of(rows, seed=0).step(0)
    assert order_of(rows, seed=0).step(0) != order_of(rows, seed=1).step(0)


def test_texts_of_one_length_are_batched_together() -> None:
    """A window of one holds the questions that it would hold unsorted; a larger one pads less."""
    rows = make_rows(200)
    lengths = np.array([len(q) + len(a) for q, a in zip(rows["question"], rows["answer"])])
    groups = rows_by_image(rows)

    def padding(window: int) -> int:
        order = order_of(rows, window=window, global_batch=8, images_per_batch=4)
        batches = [b for n in range(order.steps_per_pass) for b in order.step(n)]
        texts = [lengths[asked(groups, batch)] for batch in batches]
        return sum(t.max() * len(t) - t.sum() for t in texts)

    by_chance = order_of(rows, global_batch=8, images_per_batch=8)
    assert sorted(flat(by_chance.step(3))) == sorted(flat(order_of(rows, global_batch=8, images_per_batch=2).step(3)))
    assert padding(10) < 0.7 * padding(1)


def shares_of(rows: Dataset, order: TrainingOrder, steps: int, of) -> dict:
    groups, kinds = rows_by_image(rows), [of(row) for row in rows]
    drawn = Counter(kinds[n] for step in range(steps) for n in asked(groups, flat(order.step(step))))
    return {key: count / drawn.total() for key, count in drawn.items()}


def test_balanced_draws_rare_modalities_as_often() -> None:
    rows = make_rows()
    shares = shares_of(rows, order_of(rows, balanced=True, questions_per_image=1), 300, lambda row: row["modality"])
    assert shares["MR"] == pytest.approx(0.5, abs=0.04)


def test_sets_and_perspectives_are_mixed_by_weight() -> None:
    rows = make_rows()
    order = order_of(
        rows, questions_per_image=1, set_weights={"large": 1, "small": 3}, perspective_weights={0: 1, 1: 4}
    )
    assert shares_of(rows, order, 400, lambda row: row["set"])["small"] == pytest.approx(0.75, abs=0.04)
    shares = shares_of(rows, order, 400, lambda row: (row["set"], row["perspective"]))
    assert shares["small", 1] == pytest.approx(0.75 * 0.8, abs=0.04)
    assert shares["large", 0] == pytest.approx(0.25 * 0.2, abs=0.03)
    assert not any(perspective == 2 for _, perspective in shares)


def test_a_source_has_its_share_beside_others_of_its_kind() -> None:
    rows = make_rows().map(lambda row: {"source": "a" if int(row["image_id"]) % 2 else "b"})
    order = order_of(rows, balanced=True, questions_per_image=1, image_shares={"a": 3})
    assert shares_of(rows, order, 300, lambda row: row["source"])["a"] == pytest.approx(0.75, abs=0.04)


@pytest.mark.parametrize(
    "weights",
    [
        {"set_weights": {"none": 1}},
        {"perspective_weights": {4: 1}},
        {"perspective_weights": {7: 1}},
        {"perspective_weights": {1: -1}},
        {"perspective_weights": {1: 0}},
    ],
)
def test_wrong_weights_are_one_error(weights: dict) -> None:
    with pytest.raises(InputError, match="weights"):
        order_of(make_rows(), **weights)
    with pytest.raises(InputError, match="datasets"):
        order_of(make_rows().remove_columns("set"), set_weights={"a": 1})
