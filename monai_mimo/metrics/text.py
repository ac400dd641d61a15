"""Wording: BLEU by sacrebleu and ROUGE-L by rouge-score, the libraries whose figures are published. Both are an extra."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

EXTRA = 'pip install "monai-mimo[text]"'


def text_metrics(answers: Sequence[str], references: Sequence[str]) -> dict[str, Any] | None:
    """Compare plain texts, one reference each.

    Returns:
        samples; bleu: of the corpus, 0..100, with sacrebleu's `signature`; rouge_l: mean F-measure, 0..1. None when the
        libraries are not installed.
    """
    try:
        from rouge_score.rouge_scorer import RougeScorer
        from sacrebleu.metrics import BLEU
    except ImportError:
        return None
    bleu = BLEU()
    scorer = RougeScorer(["rougeL"])
    rouge = [scorer.score(reference, answer)["rougeL"].fmeasure for answer, reference in zip(answers, references)]
    return {
        "samples": len(answers),
        "bleu": bleu.corpus_score(list(answers), [list(references)]).score if answers else float("nan"),
        "rouge_l": sum(rouge) / len(rouge) if rouge else float("nan"),
        "signature": str(bleu.get_signature()) if answers else "",
    }
