"""The rules that every pair of perspectives III and IV keeps, whoever wrote it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from datasketch import MinHash, MinHashLSH

from .draft import Draft
from .knowledge import Knowledge

NEAR_DUPLICATE = "near-duplicate"
SAME = 0.8  # Jaccard similarity of word pairs from which two questions are one


def check(draft: Draft, knowledge: Mapping[str, Knowledge]) -> list[str]:
    """The rules that a draft breaks; none for a draft that may be used."""
    return [] if all(entity in knowledge for entity in draft.entities) else ["entity without knowledge"]


def near_duplicates(questions: Sequence[str]) -> set[int]:
    """The numbers of the questions that say almost what an earlier one, which is kept, says."""
    index = MinHashLSH(threshold=SAME, num_perm=64)
    doubles = set()
    for number, question in enumerate(questions):
        words = question.lower().split()
        code = MinHash(num_perm=64, seed=1)
        code.update_batch([" ".join(pair).encode() for pair in zip(words, words[1:])])
        if index.query(code):
            doubles.add(number)
        else:
            index.insert(number, code)
    return doubles
