"""Other questions about an image, drawn anew each time: about names that nobody trained, about nothing that an image answers, and
about places that have no name. What is turned down is so learned as a skill, and not as a list.

Of all lists of words a fixed part is kept out of teaching, so that refusing is measured as a skill and not as a memory.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from typing import Any

import numpy as np
import torch
from datasets import Dataset as Rows
from numpy.random import Generator

from ..files import digest
from ..mimoseg.catalogue.plausible import view
from ..transforms.resize import SquareResize
from .conversation import Conversation, EncodedQuestion
from .names import REGION, KnownNames, is_english, off_topic, other_terms, plain_nouns, terms_by_region
from .regions import random_superpixel, superpixels
from .simulated_prompts import click_inside, jittered_box
from .tokenizer import PHRASE_END, PHRASE_START, SEG

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


# How often a question of the kind is exchanged: one that names what is absent for one that names what is unknown; one without
# prompts for one that is off the topic; one that points at a thing for one that points at something without a name.
UNKNOWN, OFF_TOPIC, UNNAMED = 0.4, 0.12, 0.3
PSEUDO = 0.15  # of unknown names are no words at all
SMALLEST, LARGEST = 20, 0.5  # of a region without a name: pixels of the model's square, and the part of it
TRIES = 6  # superpixels that are looked at
ANSWERS = (
    "This is a {region} that I have no name for.",
    "I have no name for this {region}.",
    "You marked a {region}. I do not know what it is called.",
)


class OtherQuestions:
    """Exchanges some questions of an image for others.

    Args:
        rows: of the built set; their images are not read.
        conversation: how texts become tokens.
        known: the names that are trained.
        side: S of the model.
    """

    def __init__(self, rows: Rows, conversation: Conversation, known: KnownNames, side: int) -> None:
        self.rows, self.conversation = rows.remove_columns("image"), conversation
        self.known, self.side = known, side
        self._labels: dict[str, set[str]] = {}  # by source
        for source, entities in zip(rows["source"], rows["entities"]):
            self._labels.setdefault(source, set()).update(entity["phrase"] for entity in entities)
        self._absent: dict[tuple[str, str], list[str]] = {}  # words by source and modality

    def exchange(
        self,
        number: int,
        question: EncodedQuestion,
        entities: list[int],
        image: torch.Tensor,
        masks: torch.Tensor,
        rng: Generator,
    ) -> tuple[EncodedQuestion, list[int], torch.Tensor]:
        """The question of a row, or another one in its place.

        Args:
            number: of the row. entities: of its answer among masks, bool [K, S, S].
            image: [3, S, S] in 0..1, as the model sees it.

        Returns:
            the question, the masks of its answer, and the masks, to which one may be added.
        """
        row = self.rows[number]
        prompts = len(row["points"]) + len(row["boxes"])
        if not prompts and not row["entities"]:
            return self.text_only(row, rng) or question, entities, masks
        if row["perspective"] == 2 and prompts == 1 and rng.random() < UNNAMED:
            region = free_region(image, masks, SquareResize(*row["size"], self.side).inner, rng)
            if region is not None:
                question = self.about_region(row, region, rng)
                return question, [len(masks)], torch.cat([masks, torch.from_numpy(region)[None]])
        return question, entities, masks

    def text_only(self, row: Mapping[str, Any], rng: Generator) -> EncodedQuestion | None:
        """A question about an unknown name, or one off the topic; none leaves the question as it is."""
        resize = SquareResize(*row["size"], self.side)
        if rng.random() < OFF_TOPIC:
            return self.conversation.encode(off_topic_question(rng), resize, answer=off_topic_reply(rng), named={})
        if row["perspective"] != 1 or len(row["absent"]) != 1 or rng.random() >= UNKNOWN:
            return None
        [old] = row["absent"]
        new = self.unknown_name(row, rng)
        question, answer = (
            re.sub(re.escape(old), new, row[part], flags=re.IGNORECASE) for part in ("question", "answer")
        )
        return self.conversation.encode(question, resize, answer=answer, named={new: False})

    def unknown_name(self, row: Mapping[str, Any], rng: Generator) -> str:
        """A term of another part of the body, a plain noun, or no word at all."""
        if rng.random() < PSEUDO:
            return pseudo_word(rng, known=self.known)
        key = row["source"], row["modality"]
        if key not in self._absent:
            self._absent[key] = absent_words(view(key[0], self._labels[key[0]], key[1]).parts, self.known)
        words = self._absent[key]
        return words[int(rng.integers(len(words)))]

    def about_region(self, row: Mapping[str, Any], region: np.ndarray, rng: Generator) -> EncodedQuestion:
        """The question of a row that points at one thing, asked about a region without a name, bool [S, S]."""
        resize = SquareResize(*row["size"], self.side)
        points, boxes = [], []
        if row["points"]:
            [(x, y)] = (np.array([click_inside(region, rng)]) / resize.scale - 0.5).tolist()
            points = [(x, y, 1)]
        else:
            boxes = [(np.array(jittered_box(region, rng)) / np.tile(resize.scale, 2)).tolist()]
        phrase = f"{PHRASE_START} {REGION} {PHRASE_END} {SEG}"
        answer = ANSWERS[int(rng.integers(len(ANSWERS)))].format(region=phrase)
        return self.conversation.encode(row["question"], resize, points, boxes, answer, {})


def free_region(image: torch.Tensor, masks: torch.Tensor, inner: tuple[int, int], rng: Generator) -> np.ndarray | None:
    """A superpixel inside of the image that meets nothing labelled, bool [S, S]; none where some tries find none."""
    alike = superpixels(image.mean(0).numpy(), rng)
    taken = masks.any(0).numpy() if len(masks) else np.zeros(alike.shape, dtype=bool)
    taken[inner[0] :], taken[:, inner[1] :] = True, True
    for _ in range(TRIES):
        region = alike == random_superpixel(alike, rng)
        free = region & ~taken
        if free.sum() >= max(0.8 * region.sum(), SMALLEST) and free.sum() <= LARGEST * free.size:
            return free
    return None
