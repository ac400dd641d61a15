"""Every question is answered once, or listed with the reason why it was not; shares of processes make up the whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from ignite.engine import Events

from monai_mimo.evaluation import GroundingEvaluator, evaluation_loader, grounding_metrics
from monai_mimo.inference import MimoPredictor
from monai_mimo.models import Mimo

from .scripted import scripted_model, small_set


@pytest.fixture(scope="module")
def model() -> Mimo:
    return scripted_model()


def evaluate(model: Mimo, rows: Dataset, images_per_batch: int = 3, **options: Any) -> tuple[list[dict], dict]:
    """All outputs, and the metrics."""
    loader = evaluation_loader(model, rows, images_per_batch, **options)
    evaluator = GroundingEvaluator("cpu", loader, model, rows, key_val_metric=grounding_metrics())
    outputs: list[dict] = []
    evaluator.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: outputs.append(engine.state.output))
    evaluator.run()
    return outputs, evaluator.state.metrics


def test_all_questions_in_order(model: Mimo) -> None:
    rows = small_set()
    outputs, metrics = evaluate(model, rows)
    assert [number for out in outputs for number in out["numbers"]] == list(range(len(rows)))
    assert [out["failed"] for out in outputs] == [[]] * 3
    assert metrics["grounding"]["overall"]["samples"] == sum(p != 0 for p in rows["perspective"])
    assert {text for out in outputs for text in out["texts"]} > {"yes", "It is the liver."}


def test_an_image_that_cannot_be_read_is_listed_and_counts_as_unanswered(model: Mimo) -> None:
    rows = small_set(broken=1)
    outputs, metrics = evaluate(model, rows)
    failed = [number for out in outputs for number, _, _ in out["failed"]]
    assert [rows.select_columns("image_id")[n]["image_id"] for n in failed] == ["1"] * 6
    assert all(why for out in outputs for _, _, why in out["failed"])
    answered = [number for out in outputs for number in out["numbers"]]
    assert sorted(answered + failed) == list(range(len(rows)))
    assert metrics["grounding"]["overall"]["samples"] == sum(p != 0 for p in rows["perspective"])


def test_one_question_that_is_too_long_does_not_take_the_others_along(model: Mimo) -> None:
    rows = small_set(images=2)
    long = rows.map(lambda row, n: {"question": "where " * 400 if n == 1 else row["question"]}, with_indices=True)
    outputs, _ = evaluate(model, long)
    [(number, row, why)] = [failure for out in outputs for failure in out["failed"]]
    assert (number, row["id"]) == (1, "0-1-1")
    assert "tokens" in why
    assert sorted(n for out in outputs for n in out["numbers"]) == [0, *range(2, len(rows))]


def test_a_question_that_the_model_fails_on_does_not_take_its_batch_along(
    model: Mimo, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = small_set(images=2)
    answer = model.answer

    def fails_on_boxes(features: Any, questions: Any, *rest: Any) -> Any:
        if (questions.prompt_labels == 2).any():
            raise RuntimeError("out of memory")
        return answer(features, questions, *rest)

    monkeypatch.setattr(model, "answer", fails_on_boxes)
    outputs, _ = evaluate(model, rows)
    [out] = outputs
    assert [row["question"].count("<box>") for _, row, _ in out["failed"]] == [1, 1]
    assert {why for _, _, why in out["failed"]} == {"RuntimeError: out of memory"}
    assert len(out["numbers"]) == len(rows) - 2


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_shares_are_whole_batches_without_a_duplicate(model: Mimo, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = small_set(images=7)
    monkeypatch.setattr("ignite.distributed.get_world_size", lambda: count)
    alone = [batch.batch.rows for batch in _share(model, rows, 0, 1, monkeypatch)]
    shared = [
        batch.batch.rows
        for rank in range(count)
        for batch in _share(model, rows, rank, count, monkeypatch)
        if batch.batch is not None
    ]
    assert sorted(shared) == sorted(alone)


def _share(model: Mimo, rows: Dataset, rank: int, count: int, monkeypatch: pytest.MonkeyPatch) -> list:
    monkeypatch.setattr("ignite.distributed.get_world_size", lambda: count)
    monkeypatch.setattr("ignite.distributed.get_rank", lambda: rank)
    return list(evaluation_loader(model, rows, 3))


def test_what_was_answered_before_is_left_out_by_whole_batches(model: Mimo) -> None:
    rows = small_set(images=7)
    first = range(18)  # the questions of the first batch
    outputs, _ = evaluate(model, rows, done=first)
    assert [n for out in outputs for n in out["numbers"]] == list(range(18, len(rows)))
    outputs, _ = evaluate(model, rows, done=list(first)[:-1])
    assert [n for out in outputs for n in out["numbers"]] == list(range(len(rows)))
    outputs, _ = evaluate(model, rows, done=range(len(rows)))
    assert [out["numbers"] for out in outputs] == [[]]
    assert torch.is_grad_enabled()


def test_a_model_that_knows_names_is_measured_as_it_answers_a_user() -> None:
    """With the shipped weights: a name that nobody trained is refused as `MimoPredictor.ask` does, and nothing else differs."""
    predictor = MimoPredictor.from_pretrained("lite")
    predictor.temperature = None  # the evaluator's scores are those that a temperature is fitted to
    rows = small_set(images=2).map(
        lambda _, n: {"question": ("Where is the kettle?", "Where is the liver?")[n % 2]}, with_indices=True
    )
    outputs, _ = evaluate(predictor.model, rows)
    for out in outputs:
        for row, text, entities in zip(out["rows"], out["texts"], out["entities"]):
            predictor.set_image(np.asarray(row["image"].convert("RGB")))
            answer = predictor.ask(row["question"], row["points"], row["boxes"])
            assert ("kettle" in row["question"]) <= ("kettle" in text or bool(row["points"] or row["boxes"]))
            assert (text, [e.phrase for e in entities]) == (answer.text, [e.phrase for e in answer.entities])
