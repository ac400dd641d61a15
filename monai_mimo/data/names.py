"""Known names in the words of a question: synonyms, plurals, spellings and typing errors of them, and no other word; and the
lists of words that come with the package, to tell a name from a word.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from itertools import product

import yaml

ENDINGS = ("s", "es", "d", "ed", "ing", "r", "er", "ly", "y")
_FOLDER = resources.files(__package__) / "words"


@cache
def english_words() -> frozenset[str]:
    """English words and plain nouns in small letters, none of which is a typing error of a known name."""
    return frozenset((_FOLDER / "english.txt").read_text().split()) | {
        word for noun in plain_nouns() for word in noun.split()
    }


@cache
def thing_words() -> frozenset[str]:
    """Nouns that make another thing of a name before them: a liver cyst is no liver, and a heart valve is no heart."""
    return frozenset((_FOLDER / "heads.txt").read_text().split())


def is_english(word: str) -> bool:
    """Whether a word in small letters is an English one, or one with an ending ("lived", "rivers")."""
    words = english_words()
    return word in words or any(word.endswith(end) and word.removesuffix(end) in words for end in ENDINGS)


@cache
def terms_by_region() -> dict[str, tuple[str, ...]]:
    """Terms of anatomy, pathology and medicine, by the part of the body to which they belong."""
    texts = yaml.safe_load((_FOLDER / "terms.yaml").read_text())
    return {region: tuple(term.strip() for term in text.split(",")) for region, text in texts.items()}


def other_terms() -> list[str]:
    """All of `terms_by_region`, each once."""
    return list(dict.fromkeys(term for terms in terms_by_region().values() for term in terms))


@cache
def plain_nouns() -> tuple[str, ...]:
    """Things that no medical image shows: "bicycle", "teapot"."""
    return tuple(noun.strip() for noun in (_FOLDER / "things.txt").read_text().split(",") if noun.strip())


@dataclass(frozen=True)
class OffTopic:
    """Questions that no image answers.

    Attributes:
        questions: kind -> templates with {slots}; slots: name -> what may stand there.
        held_out: questions that are kept out of teaching; replies: what is said to all of them.
    """

    questions: dict[str, tuple[str, ...]]
    slots: dict[str, tuple[str, ...]]
    held_out: tuple[str, ...]
    replies: tuple[str, ...]


@cache
def off_topic() -> OffTopic:
    """The off-topic questions that come with the package."""
    values = yaml.safe_load((_FOLDER / "off_topic.yaml").read_text(encoding="utf-8"))
    questions = {kind: tuple(text.strip().splitlines()) for kind, text in values["questions"].items()}
    slots = {slot: tuple(map(str, texts)) for slot, texts in values["slots"].items()}
    return OffTopic(questions, slots, tuple(values["held_out"].strip().splitlines()), tuple(values["replies"]))


REGION = "region"  # what is called so has no known name
LONG = 5  # letters of a word in which one typing error is forgiven
SWAPPED = 4  # letters of a word in which two neighbours may have changed places
JOINED = 7  # letters of a name that is also found with its blanks left out, or with others put in

# British spelling, and its American one, within a word.
SPELLINGS = {
    "tumour": "tumor", "oesoph": "esoph", "oedem": "edem", "haem": "hem", "aemi": "emi", "faec": "fec", "foet": "fet",
    "caec": "cec", "paed": "ped", "gynaec": "gynec", "orrhoea": "orrhea", "gray": "grey", "disk": "disc",
    "fibre": "fiber", "centre": "center", "colour": "color", "anaesth": "anesth",
}  # fmt: skip
# Latin and Greek ends of words, and their plurals.
PLURALS = {
    "us": "i",
    "um": "a",
    "a": "ae",
    "is": "es",
    "ex": "ices",
    "ix": "ices",
    "nx": "nges",
    "ma": "mata",
    "lion": "lia",
}
TOKEN = re.compile(r"([^\W_]+)(?:['’][sS](?![^\W_]))?")  # a word; what makes it a possessive is not part of it
GAP = re.compile(r"(['’][sS])?[\s\-_/'’‐–]*")  # what may stand between the words of a name
AND = ("and", "or")


@dataclass(frozen=True)
class Mention:
    """A known name in a text.

    Attributes:
        span: its first character and the one after its last.
        canonical: the name under which it is known.
        exact: no typing error was mended; synonyms, plurals, spellings and hyphens are exact.
    """

    span: tuple[int, int]
    canonical: str
    exact: bool


class KnownNames:
    """Finds known names in texts.

    A word of five letters or more may hold one typing error (a letter too many, too few or another one, or two that changed
    places), one of four letters two that changed places, unless it is another word. The longest name wins: "lung nodule" is
    no lung, and neither is a term that is not known but ends in a known one, such as "optic nerve" where "nerve" is known.

    Args:
        names: name -> its synonyms.

    Raises:
        ValueError: a name or synonym has no letter or digit, or belongs to two names.
    """

    def __init__(self, names: Mapping[str, Sequence[str]]) -> None:
        self.names = {name: tuple(synonyms) for name, synonyms in names.items()}
        phrases: dict[tuple[str, ...], str | None] = {}
        for name, synonyms in self.names.items():
            for text in (name, *synonyms):
                words = tuple(plain_words(text))
                if not words or phrases.setdefault(words, name) != name:
                    raise ValueError(f"{text!r} of {name!r}: " + ("no word" if not words else f"of {phrases[words]!r}"))
        given = dict(phrases)
        for words, owner in given.items():
            for form in _forms(words):
                phrases.setdefault(form, owner)
        self._joined = {"".join(words): owner for words, owner in reversed(phrases.items()) if _joinable(words)}
        for term in other_terms():  # what is looked for to know that it is something else
            words = tuple(plain_words(term))
            for form in (words, *_forms(words)):
                phrases.setdefault(form, None)
        self._phrases = phrases
        self._begun = {words[:length] for words in phrases for length in range(1, len(words) + 1)}
        self._longest = max((len(words) for words in phrases), default=0)
        self._lexicon = {word for words in phrases for word in words}
        short = {form for word in self._lexicon if len(word) < SWAPPED for form in numbers(word)}  # "IVCs"
        self._near: dict[str, set[str]] = {}
        for word in self._lexicon:
            if len(word) >= SWAPPED and word.isalpha() and word not in short:
                for shorter in _shortened(word):
                    self._near.setdefault(shorter, set()).add(word)
        self._heads = {form for head in thing_words() for form in (head, *numbers(head))}
        self._readings = lru_cache(4096)(self._read)

    @classmethod
    def from_json(cls, text: str) -> KnownNames:
        """From what `to_json` wrote.

        Raises:
            ValueError: it is something else.
        """
        names = json.loads(text)
        if not isinstance(names, dict) or not all(isinstance(value, list) for value in names.values()):
            raise ValueError("no object of names, each with a list of synonyms")
        return cls(names)

    def __reduce__(self) -> tuple[type[KnownNames], tuple[dict[str, tuple[str, ...]]]]:
        """For other processes: the names; the rest is made again."""
        return KnownNames, (self.names,)

    def to_json(self) -> str:
        """The names and synonyms as a JSON object, in their order."""
        return json.dumps(self.names, indent=1, ensure_ascii=False)

    def find(self, text: str) -> list[Mention]:
        """The known names in `text`, from left to right; none overlaps another.

        "The left and right kidneys" and "retinal arteries and veins" each hold two names where both are known.
        """
        tokens = [(m.start(1), m.end(1), plain_word(m[1])) for m in TOKEN.finditer(text)]
        words = [word for _, _, word in tokens]
        parted = [GAP.fullmatch(text[one[1] : other[0]]) is None for one, other in zip(tokens, tokens[1:])]
        free = [True] * len(tokens)
        taken: list[tuple[int, int, str | None, bool]] = []
        for first, last, owner, exact in sorted(self._candidates(words, parted), key=_longest_first):
            if all(free[first:last]):
                follows = last < len(words) and not parted[last - 1]
                if self._is_part(words[:first]) or (follows and words[last] in self._heads):
                    owner = None  # "apex of the heart", "heart valve"
                free[first:last] = [False] * (last - first)
                taken.append((first, last, owner, exact))
        taken += [found for first, last, owner, _ in taken if owner for found in self._shared(words, free, first, last)]
        return sorted(
            (
                Mention((tokens[first][0], tokens[last - 1][1]), owner, exact)
                for first, last, owner, exact in taken
                if owner is not None
            ),
            key=lambda mention: mention.span,
        )

    def normalise(self, text: str) -> tuple[str, list[Mention]]:
        """`text` with each known name in its canonical form, and the mentions with their spans in that new text."""
        parts, mentions, end, length = [], [], 0, 0
        for mention in self.find(text):
            start = mention.span[0]
            parts += [text[end:start], mention.canonical]
            length += start - end
            span = (length, length + len(mention.canonical))
            mentions.append(Mention(span, mention.canonical, mention.exact))
            end, length = mention.span[1], span[1]
        return "".join([*parts, text[end:]]), mentions

    def _is_part(self, before: Sequence[str]) -> bool:
        """Whether the words before a name make a part of it, or something in it: "apex of the left"."""
        rest = list(before)
        while rest and rest[-1] in ("the", "left", "right"):
            rest.pop()
        return len(rest) > 1 and rest[-1] == "of" and rest[-2] in self._heads

    def _candidates(self, words: Sequence[str], parted: Sequence[bool]) -> Iterator[tuple[int, int, str | None, bool]]:
        """(first word, word after the last, name or none for another term, exact), overlapping ones too. No term goes on
        after a comma or another mark: `parted` tells whether one stands between a word and the next."""
        readings = [self._readings(word) for word in words]
        for first in range(len(words)):
            spelled: list[tuple[str, ...]] = [()]  # beginnings of terms as which the words up to `last` can be read
            for last in range(first + 1, min(first + self._longest + 1, len(words)) + 1):
                if any(parted[first : last - 1]):
                    break
                longer = ((*begun, option.lstrip("=")) for begun in spelled for option in readings[last - 1])
                spelled = [begun for begun in longer if begun in self._begun]
                found = self._meaning(spelled, readings[first:last])
                joined = self._joined.get("".join(words[first:last])) if found is None else None
                if found is not None:
                    yield first, last, *found
                elif joined is not None:
                    yield first, last, joined, True

    def _meaning(
        self, spelled: Iterable[tuple[str, ...]], readings: Sequence[tuple[str, ...]]
    ) -> tuple[str | None, bool] | None:
        """The name (none: another term) that words make, `spelled` as they may be read, and whether it is exact; none: no
        term at all. Words that could be two different terms are another one."""
        owners = {self._phrases[words] for words in spelled if words in self._phrases}
        exact = all(len(options) == 1 and options[0][0] == "=" for options in readings)
        return (owners.pop() if len(owners) == 1 else None, exact) if owners else None

    def _read(self, word: str) -> tuple[str, ...]:
        """What a word of a text may stand for: itself with "=" before it when it is a word of a term, or else those from
        which one typing error makes it; none for other words."""
        if word in self._lexicon:
            return (f"={word}",)
        if is_english(word) or not word.isalpha():
            return ()
        near = set().union(*(self._near.get(shorter, ()) for shorter in _shortened(word)))
        return tuple(sorted(other for other in near if _mistyped(word, other)))

    def _shared(
        self, words: Sequence[str], free: list[bool], first: int, last: int
    ) -> Iterator[tuple[int, int, str, bool]]:
        """Names that share a word with the one at `first` to `last`: "left and [right kidney]", "[retinal artery] and vein"; also
        with "the" before the second."""
        before = first - 2 if words[first - 1 : first] == ["the"] else first - 1  # of the "and"
        for alone, between, spelled in (
            (before - 1, before, [*words[max(before - 1, 0) : max(before, 0)], *words[first + 1 : last]]),
            (last + 1, last, [*words[first : last - 1], *words[last + 1 : last + 2]]),
        ):
            if last - first < 2 or not 0 <= alone < len(words) or words[between] not in AND or not free[alone]:
                continue
            readings = [self._readings(word) for word in spelled]
            ways = product(*([option.lstrip("=") for option in options] for options in readings))
            found = self._meaning(ways, readings)
            if found is not None and found[0] is not None:
                free[alone] = False
                yield alone, alone + 1, found[0], found[1]


def plain_word(text: str) -> str:
    """A word in small letters without accents, in American spelling."""
    word = unicodedata.normalize("NFKD", text.casefold())
    word = "".join(letter for letter in word if not unicodedata.combining(letter))
    for british, american in SPELLINGS.items():
        word = word.replace(british, american)
    return word


def plain_words(text: str) -> list[str]:
    """The words of a text; see `plain_word`."""
    return [plain_word(match[1]) for match in TOKEN.finditer(text)]


def _longest_first(found: tuple[int, int, str | None, bool]) -> tuple[int, bool, int]:
    """Of two that are equally long, the one without a typing error; then the later, as English has its nouns last."""
    first, last, _, exact = found
    return first - last, not exact, -first


def _forms(words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """A name in the plural and in the singular: its last word, or the one before "of". And turned: "tumors of the lung"."""
    head = words.index("of") - 1 if "of" in words[1:] else len(words) - 1
    for form in (words[head], *numbers(words[head])):
        if form != words[head]:
            yield (*words[:head], form, *words[head + 1 :])
        if len(words) > 1 and words[-1] in thing_words() and head == len(words) - 1:
            for link in (("of",), ("of", "the"), ("in",), ("in", "the")):
                yield (form, *link, *words[:-1])


def numbers(word: str) -> Iterator[str]:
    """Plurals of a word, and its singular where it looks like a plural."""
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        yield f"{word[:-1]}ies"
    elif word.endswith(("s", "x", "z", "ch", "sh")):
        yield f"{word}es"
    else:
        yield f"{word}s"
    for end, plural in PLURALS.items():
        if word.endswith(end) and len(word) > len(end) + 2:
            yield word.removesuffix(end) + plural
    if word.endswith("ies"):
        yield f"{word[:-3]}y"
    elif word.endswith("s") and not word.endswith(("ss", "us", "is", "as")):
        yield word[:-1]


def _joinable(words: Collection[str]) -> bool:
    """Whether a name is still itself without its blanks, or with others: it is long, or a letter with a number ("L1")."""
    letters = "".join(words)
    return len(letters) >= JOINED or re.fullmatch(r"[a-z]\d+", letters) is not None


def _shortened(word: str) -> set[str]:
    """The word, and the word without one of its letters: two words of which one is a typing error of the other share one."""
    return {word, *(word[:i] + word[i + 1 :] for i in range(len(word)))}


def _mistyped(text: str, word: str) -> bool:
    """Whether `text` is `word` with one forgivable typing error."""
    start = 0
    while start < min(len(text), len(word)) and text[start] == word[start]:
        start += 1
    a, b = text[start:], word[start:]
    while a and b and a[-1] == b[-1]:
        a, b = a[:-1], b[:-1]
    if len(a) == 2 and a == b[::-1]:
        return len(word) >= SWAPPED
    return len(word) >= LONG and max(len(a), len(b)) == 1
