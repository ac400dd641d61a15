"""How well texts fit their references: BLEU and ROUGE-L of answers; of VQA sets accuracy on closed questions and recall of words
on open ones, by LLaVA-Med's convention; of measured answers their numbers.

Texts are normalised as in the evaluation of VQA (Antol et al., ICCV 2015): lower case, without articles and punctuation, number
words as digits.
"""

from __future__ import annotations

import re
from collections import Counter
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


NUMBERS = {
    word: str(n)
    for n, word in enumerate("zero one two three four five six seven eight nine ten".split())  # noqa: SIM905
} | {"none": "0"}
ARTICLES = {"a", "an", "the"}
TRUTH = ("yes", "no")


def words(text: str) -> list[str]:
    """ "The X-ray shows two nodules (1.5 cm)." -> ["x", "ray", "shows", "2", "nodules", "1.5", "cm"]"""
    found = re.findall(r"\d+(?:[.,]\d+)*|[^\W_]+", text.lower().replace("'", "").replace("’", ""))
    return [NUMBERS.get(word, word).replace(",", "") for word in found if word not in ARTICLES]


def closed_right(answer: str, reference: str) -> bool:
    """Does the answer say what the reference says? For a reference of yes or no the first of both in the answer decides; any
    other reference must stand in the answer, word by word.

    LLaVA-Med's script takes any place in the text, so that "normal" holds "no", and leaves out of its mean what was
    answered with the other of yes and no. Here such an answer is wrong.
    """
    said, expected = words(answer), words(reference)
    if len(expected) == 1 and expected[0] in TRUTH:
        return next((word for word in said if word in TRUTH), None) == expected[0]
    length = len(expected)
    return length > 0 and any(said[i : i + length] == expected for i in range(len(said) - length + 1))


def open_recall(answer: str, reference: str) -> float:
    """tp / (tp + fn), where tp counts the answer's words that are in the reference, each as often as it is said, and fn the
    reference's words that the answer lacks; 0 when either is empty."""
    said, expected = Counter(words(answer)), Counter(words(reference))
    right = sum(count for word, count in said.items() if word in expected)
    lacking = sum(count for word, count in expected.items() if word not in said)
    return right / (right + lacking) if said and right else 0.0
