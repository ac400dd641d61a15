"""What a question may name: typing errors of known names are mended, unknown names are refused, and nothing else is grounded.

A small language model takes every name for one that it knows. Which names were trained is known from the weights, so what a
question in words names can be checked before and after it is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..data.asking import ASKED, describes, judges
from ..data.names import KnownNames, Mention, numbers, plain_words
from ..mimoseg.questions.templates import asked_kind

TOLD = 12  # names that a refusal lists at most

# Words that stand for a thing and do not name it: alone, or followed by what tells of it.
_GENERAL = frozenset({
    "organ", "organs", "structure", "structures", "part", "parts", "region", "regions", "area", "areas", "thing", "things",
    "something", "anything", "object", "objects", "place", "tissue", "tissues", "lesion", "lesions", "abnormality",
    "abnormalities", "finding", "findings", "one", "ones", "bone", "bones", "vessel", "vessels", "muscle", "muscles", "gland",
    "glands", "image", "picture", "side", "modality", "larger", "largest", "smaller", "bigger",
})  # fmt: skip
_TELLING = frozenset({"it", "this", "that", "these", "those", "there", "what", "which", "who", "whose", "where"})


class NameGuard:
    """Checks questions in words against the names that weights know.

    Args:
        names: name -> its synonyms, as of `MimoConfig.names`.
    """

    def __init__(self, names: Mapping[str, Sequence[str]]) -> None:
        self.known = KnownNames(names)

    def read(self, question: str) -> tuple[str, list[Mention]]:
        """The question with known names as the model knows them, without typing errors, and where they are; as it is, and none,
        where it describes what it asks for, for then the names in it are of other things."""
        return (question, []) if describes(question) else self.known.normalise(question)

    def unknown(self, question: str) -> str | None:
        """The name that a question asks for and that is not known; none if it names a known one, or asks in another way."""
        if self.known.find(question):
            return None
        match = ASKED.match(question)
        words = set() if match is None else set(plain_words(match["name"]))
        if match is None or words <= _GENERAL or words & _TELLING:
            return None
        if any(words <= set(plain_words(name)) for name in self.known.names):
            return None  # "hippocampus" means both of its parts
        return match["name"]

    def asked_alone(self, question: str, answer: str) -> list[str]:
        """A question for each name that `question` asks for, if its answer leaves one out and it is no such question."""
        mentions = self.read(question)[1]
        asked = {mention.canonical for mention in mentions}
        told = {mention.canonical for mention in self.known.find(answer)}
        if asked <= told or asked_kind(question) not in (None, "larger"):
            return []
        if len(asked) < 2 and not ASKED.match(question):
            return []
        alone = for_each_name(mentions)
        return [] if question in alone else alone

    def unjudged(self, question: str) -> list[str]:
        """A question for each name, where `question` asks more of yes or no than masks can tell (`judges`)."""
        mentions = self.read(question)[1]
        return for_each_name(mentions) if judges(question, [mention.span for mention in mentions]) else []

    def parts(self, question: str) -> tuple[str, list[str]]:
        """What a question asks for, and known names of its parts and kinds, which end in its words: of "kidney" the left and the
        right one. None where it asks for several things, or for something else than things by their names."""
        asked = {mention.canonical for mention in self.read(question)[1]}
        match = ASKED.match(question)
        if asked_kind(question) or len(asked) > 1 or not (asked or match):
            return "", []
        name = asked.pop() if asked else match["name"] if match else ""
        *before, last = plain_words(name) or [""]
        ends = [[*before, word] for word in (last, *numbers(last))]
        own = {known: plain_words(known) for known in self.known.names}
        return name, [k for k, words in own.items() if any(len(words) > len(e) and words[-len(e) :] == e for e in ends)]

    def refusal(self, name: str) -> str:
        """What is said to a question for a name that is not known."""
        names = list(self.known.names)
        told = ", ".join(names[:TOLD])
        more = f" and {len(names) - TOLD} others" if len(names) > TOLD else ""
        return f"{self.unknown_line(name)} What I know: {told}{more}."

    def unknown_line(self, name: str) -> str:
        """What is said first of a name that is not known."""
        return f'I do not know what "{name}" looks like.'

    def fits(self, phrase: str, mentions: Sequence[Mention]) -> bool:
        """Whether a phrase of an answer is what a question named, or a part or a kind of it ("kidney", "left kidney")."""
        words = set(plain_words(phrase))
        named = [set(plain_words(mention.canonical)) for mention in mentions]
        return any(words <= name or name <= words for name in named)


def for_each_name(mentions: Sequence[Mention]) -> list[str]:
    """A question for each different name, in the order of the mentions."""
    return [f"Where is the {name}?" for name in dict.fromkeys(mention.canonical for mention in mentions)]
