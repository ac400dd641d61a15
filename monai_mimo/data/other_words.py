"""Words that are no known name, and questions that no image answers: to teach and to measure that both are turned down.

Of all lists a fixed part is kept out of teaching, so that refusing is measured as a skill and not as a memory.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import cache

import numpy as np

from ..files import digest
from .names import KnownNames
from .word_lists import is_english, off_topic, other_terms, plain_nouns, terms_by_region

HELD_TERMS, HELD_NOUNS = 140, 60  # names that are kept out of teaching
NOWHERE = "nowhere"  # of terms that are in no part of the body
# Whole organs and bones that are always among the terms kept out.
HELD_ORGANS = (
    "uterus", "appendix", "patella", "tibia", "thymus", "ureter", "jejunum", "testis", "larynx", "tongue", "eyeball", "thalamus",
    "spinal cord", "diaphragm", "placenta", "mandible", "ankle", "elbow", "sternum", "parotid gland",
)  # fmt: skip
# Of syllables; "-" is nothing.
ONSETS = "b br bl c cr d dr f fl fr g gl gr h j k kl l m n p pl pr qu r s sc sl sm sp st str t tr v w z"
VOWELS = "a e i o u ai ea ee io oa ou ue y"
CODAS = "- - - b ck d ft g l lm m mp n nd nk p r rb rd rk rn s sk st t x"
ENDINGS = "- - - al er ia id ion is ium oid oma or ule um us"


def held_out_names(parts: Collection[str] = ()) -> list[str]:
    """Of the 200 names that are never taught as absent, those that no image of these parts of the body shows."""
    hidden = {term for part, terms in terms_by_region().items() if part not in parts for term in terms}
    return [name for name in _held_out() if name in hidden or name in plain_nouns()]


@cache
def _held_out() -> tuple[str, ...]:
    """Terms of anatomy and pathology, `HELD_ORGANS` first, then plain nouns."""
    body = [term for part, terms in terms_by_region().items() if part != NOWHERE for term in terms]
    terms = [*HELD_ORGANS, *(term for term in shuffled(set(body)) if term not in HELD_ORGANS)]
    return (*terms[:HELD_TERMS], *shuffled(plain_nouns())[:HELD_NOUNS])


def absent_words(parts: Collection[str], known: KnownNames | None = None) -> list[str]:
    """Terms and plain nouns that no image of these parts of the body shows, to be taught as absent.

    Args:
        parts: all parts that the image can show, of those in `words/terms.yaml`.
        known: names that the model knows; terms that are or hold one are left out.
    """
    held = set(_held_out())
    terms = (term for part, terms in terms_by_region().items() if part not in parts for term in terms)
    return [word for word in (*terms, *plain_nouns()) if word not in held and not (known and known.find(word))]


def pseudo_word(rng: np.random.Generator, *, held_out: bool = False, known: KnownNames | None = None) -> str:
    """A word that sounds like one and is none. Of all such words a tenth is kept out of teaching; `held_out` gives these."""
    while True:
        syllables = int(rng.integers(1, 4))
        groups = [*(ONSETS, VOWELS, CODAS) * syllables, ENDINGS]
        word = "".join(rng.choice(group.split()) for group in groups).replace("-", "")
        if 4 <= len(word) <= 14 and (int(digest(word)[:16], 16) % 10 == 0) == held_out and not is_word(word, known):
            return word


def is_word(word: str, known: KnownNames | None) -> bool:
    """Whether a word is English, one of a term, or a known name, also with a typing error."""
    return is_english(word) or word in _words_of_terms() or bool(known and known.find(word))


def off_topic_question(rng: np.random.Generator) -> str:
    """A question or an order that has nothing to do with an image, as people may write it."""
    about = off_topic()
    kinds = sorted(about.questions)
    templates = about.questions[kinds[int(rng.integers(len(kinds)))]]
    template = templates[int(rng.integers(len(templates)))]
    return re.sub(r"\{(\w+)\}", lambda slot: str(rng.choice(about.slots[slot[1]])), template)


def off_topic_reply(rng: np.random.Generator) -> str:
    """What is said to an off-topic question: what can be asked instead. It grounds nothing."""
    return str(rng.choice(off_topic().replies))


def held_out_questions() -> tuple[str, ...]:
    """50 off-topic questions that are never taught."""
    return off_topic().held_out


def shuffled(texts: Iterable[str]) -> list[str]:
    """In an order that does not depend on how they were given."""
    return sorted(texts, key=digest)


@cache
def _words_of_terms() -> frozenset[str]:
    return frozenset(word.lower() for term in other_terms() for word in re.findall(r"\w+", term))
