"""How well texts fit their references: BLEU and ROUGE-L of answers; of VQA sets accuracy on closed questions and recall of words
on open ones, by LLaVA-Med's convention; of measured answers their numbers.

Texts are normalised as in the evaluation of VQA (Antol et al., ICCV 2015): lower case, without articles and punctuation, number
words as digits.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ..mimoseg.questions.templates import KINDS, is_right, parse_value

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


class MeasuredAnswer(NamedTuple):
    """The kind of a question, the right value, and the value of the answer: none where it gives none, or more than one."""

    kind: str
    expected: str
    said: str | None

    @property
    def right(self) -> bool:
        """The same value, or a size close to it."""
        return is_right(self.kind, self.said, self.expected)


def measured_answer(kind: str, expected: str, answer: str) -> MeasuredAnswer:
    """With the value of an answer, plain or with tags, as the grammar of the templates reads it."""
    return MeasuredAnswer(kind, expected, parse_value(kind, answer))


def most_frequent(kind: str, expected: Iterable[str]) -> tuple[str, float]:
    """The value that is right most often when it is always said, and how often that is. For sizes, those close to it count."""
    values = list(expected)
    score = {value: sum(is_right(kind, value, other) for other in values) for value in sorted(set(values))}
    best = max(score, key=score.__getitem__)
    return best, score[best] / len(values)


def measured_accuracy(answers: Iterable[MeasuredAnswer]) -> dict[str, dict[str, Any]]:
    """Each kind that was asked, in the order of `KINDS`, then "all":

    - samples; accuracy: of the answers; unread: answers that give no value, or several, and count as wrong;
    - majority: accuracy of always saying `majority_answer`, the best value of the kind for these very questions; of "all",
      each kind with its own.
    """
    by_kind: dict[str, list[MeasuredAnswer]] = {}
    for answer in answers:
        by_kind.setdefault(answer.kind, []).append(answer)
    out: dict[str, dict[str, Any]] = {}
    for kind in (kind for kind in KINDS if kind in by_kind):
        group = by_kind[kind]
        value, share = most_frequent(kind, (a.expected for a in group))
        out[kind] = {**_counted(group), "majority": share, "majority_answer": value}
    if out:
        everything = [answer for group in by_kind.values() for answer in group]
        share = sum(cell["majority"] * cell["samples"] for cell in out.values()) / len(everything)
        out["all"] = {**_counted(everything), "majority": share, "majority_answer": ""}
    return out


def _counted(answers: list[MeasuredAnswer]) -> dict[str, Any]:
    return {
        "samples": len(answers),
        "accuracy": sum(a.right for a in answers) / len(answers),
        "unread": sum(a.said is None for a in answers),
    }
