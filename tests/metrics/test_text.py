"""Text metrics against their definitions."""

from __future__ import annotations

import builtins
import math
from typing import Any

import pytest

from monai_mimo.metrics import text_metrics


def test_identical_texts_are_perfect() -> None:
    texts = ["This is the left kidney, which filters blood.", "There is no tumor in this image."]
    result = text_metrics(texts, texts)
    assert result is not None
    assert (round(result["bleu"], 6), result["rouge_l"], result["samples"]) == (100, 1, 2)
    assert "tok:13a" in result["signature"]


def test_by_hand() -> None:
    answer, reference = "the liver lies right of the stomach", "the liver lies below the right lung"
    result = text_metrics([answer], [reference])
    assert result is not None
    # longest common subsequence: "the liver lies right" (or "the"), of 7 words each
    assert result["rouge_l"] == pytest.approx(4 / 7)
    # of unigrams 5 of 7 (the, liver, lies, right, the), bigrams 2 of 6, trigrams 1 of 5, and none of 4 four-grams, which
    # counts as 1 / (2 * 4)
    expected = math.exp((math.log(5 / 7) + math.log(2 / 6) + math.log(1 / 5) + math.log(1 / 8)) / 4)
    assert result["bleu"] == pytest.approx(100 * expected)


def test_nothing_to_compare() -> None:
    result = text_metrics([], [])
    assert result is not None
    assert math.isnan(result["bleu"])


def test_without_the_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name.startswith("sacrebleu"):
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    assert text_metrics(["a"], ["a"]) is None
