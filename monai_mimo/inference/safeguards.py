"""What stands between a model's answer and a reader: uncertain phrases marked, weak ones withheld, advice refused.

MIMO's authors warn of hallucination and of harm from wrong predictions. Everything that shows an answer to a person
(`mimo ask`, the demo page, the MONAI Label app) passes it through `guard` first.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from .. import NOTICE
from ..data.names import REGION
from ..errors import InputError
from .answer import Answer, Entity

ADVICE = (
    "This question seems to ask for a diagnosis or for treatment advice. This is a research model: it cannot give either, "
    "and what it writes must not be used for them. Please ask a physician."
)
WITHHELD = "[withheld]"
UNSURE = 0.5  # entities that score below are named in `Answer.warnings`

__all__ = ["ADVICE", "NOTICE", "WITHHELD", "Guarded", "Thresholds", "Withheld", "asks_for_advice", "guard"]

Status = Literal["shown", "uncertain", "withheld"]


@dataclass(frozen=True)
class Thresholds:
    """Limits on the score of a phrase, both in 0..1.

    Attributes:
        uncertain: a phrase that scores below is marked as uncertain.
        withhold: one that scores below is not named, and its mask is not given, unless it is a region without a name.

    Raises:
        InputError: they are no numbers in 0..1, or `withhold` is above `uncertain`.
    """

    uncertain: float = 0.5
    withhold: float = 0.2

    def __post_init__(self) -> None:
        values = (self.withhold, self.uncertain)
        if not all(isinstance(v, int | float) and math.isfinite(v) for v in values) or not (
            0 <= self.withhold <= self.uncertain <= 1
        ):
            found = f"withhold {self.withhold!r} and uncertain {self.uncertain!r}"
            raise InputError("thresholds", found, "0 <= withhold <= uncertain <= 1")

    def status(self, score: float, phrase: str) -> Status:
        """Of a phrase with that score; one that is no number is withheld. A region without a name claims nothing but its outline,
        which people can correct: it is uncertain at worst."""
        if not score >= self.withhold and phrase != REGION:
            return "withheld"
        return "shown" if score >= self.uncertain else "uncertain"


@dataclass(frozen=True)
class Withheld:
    """A phrase that is not named: `span` (start, end) of `WITHHELD` in the guarded text, and its score."""

    span: tuple[int, int]
    score: float


@dataclass(frozen=True)
class Guarded:
    """An answer as a person may see it.

    Attributes:
        answer: without the phrases that were withheld, in text and entities; its warnings name what is uncertain or withheld.
        statuses: "shown" or "uncertain", of each of its entities.
        withheld: what was left out, in the order of the text.
        notices: lines that must be shown with it; the first is `NOTICE`.
    """

    answer: Answer
    statuses: list[Status] = field(default_factory=list)
    withheld: list[Withheld] = field(default_factory=list)
    notices: list[str] = field(default_factory=lambda: [NOTICE])

    def to_json(self) -> dict[str, Any]:
        """`Answer.to_json` with a `status` for each entity, and `withheld` and `notices`."""
        out = self.answer.to_json()
        for entity, status in zip(out["entities"], self.statuses):
            entity["status"] = status
        out["withheld"] = [{"span": list(w.span), "score": _finite(w.score)} for w in self.withheld]
        out["notices"] = list(self.notices)
        return out


def guard(answer: Answer, question: str, thresholds: Thresholds | None = None) -> Guarded:
    """Apply the thresholds to an answer, and add the lines that its question calls for.

    A phrase that is withheld is replaced by `WITHHELD` wherever the text names it, unless an entity that is shown has the
    same phrase; spans of the others are moved along.
    """
    thresholds = thresholds or Thresholds()
    status = [thresholds.status(e.score, e.phrase) for e in answer.entities]
    kept = [e for e, s in zip(answer.entities, status) if s != "withheld"]
    weak = [e for e, s in zip(answer.entities, status) if s == "withheld"]
    text, moved, holes = _without(answer.text, weak, kept)
    entities = [replace(e, span=span) for e, span in zip(kept, moved)]
    withheld = [Withheld(span, e.score) for e, span in zip(weak, holes)]
    raised = {uncertain_line(e.phrase, e.score) for e in answer.entities}  # by the predictor, with a limit of its own
    warnings = [w for w in answer.warnings if w not in raised]
    warnings += [
        uncertain_line(e.phrase, e.score) for e in entities if thresholds.status(e.score, e.phrase) == "uncertain"
    ]
    warnings += [withheld_line(w, thresholds) for w in withheld]
    notices = [NOTICE, *([ADVICE] if asks_for_advice(question) else [])]
    guarded = replace(answer, text=text, entities=entities, warnings=warnings)
    return Guarded(guarded, [thresholds.status(e.score, e.phrase) for e in entities], withheld, notices)


def uncertain_line(phrase: str, score: float) -> str:
    """The warning about a phrase with a low score."""
    return f"uncertain: {phrase} (score {score:.2f})"


def withheld_line(withheld: Withheld, thresholds: Thresholds) -> str:
    """The warning about a phrase that is not named."""
    return f"withheld: a phrase and its mask (score {withheld.score:.2f}, below {thresholds.withhold:.2f})"


def _finite(score: float) -> float | None:
    """JSON has no NaN."""
    return round(score, 4) if math.isfinite(score) else None


Span = tuple[int, int]


def _without(text: str, weak: list[Entity], kept: list[Entity]) -> tuple[str, list[Span], list[Span]]:
    """`text` with `WITHHELD` in place of weak phrases; where the spans of `kept` and of the holes are in it."""
    holes = {e.span for e in weak}
    shown = {e.phrase.lower() for e in kept}
    for phrase in {e.phrase for e in weak if e.phrase.lower() not in shown}:
        for match in re.finditer(rf"(?<!\w){re.escape(phrase)}(?!\w)", text, re.IGNORECASE):
            if not any(_overlap(match.span(), span) for span in [*holes, *(e.span for e in kept)]):
                holes.add(match.span())

    def moved(span: Span) -> Span:
        shift = sum(len(WITHHELD) - (end - start) for start, end in holes if end <= span[0])
        return span[0] + shift, span[1] + shift

    pieces, position = [], 0
    for start, end in sorted(holes):
        pieces += [text[position:start], WITHHELD]
        position = end
    places = []
    for entity in weak:
        start = moved(entity.span)[0]
        places.append((start, start + len(WITHHELD)))
    return "".join([*pieces, text[position:]]), [moved(e.span) for e in kept], places


def _overlap(a: Span, b: Span) -> bool:
    return a[0] < b[1] and b[0] < a[1]


_IT = r"(?:it|this|that|these|those)"
_SOMEONE = rf"(?:i|we|he|she|they|you|{_IT}|(?:the|this|my|our|your|his|her)\s+\w+)"
_ADVICE = re.compile(
    r"|".join(
        (
            # what is it, medically
            r"\bdiagnos\w*|\bdifferential\b|\bprognos\w*|\bpatholog(?:y|ies|ic|ical)\b|\blife expectancy\b|\bsurviv\w*",
            r"\b(?:what|which)\s+(?:kind of\s+|type of\s+)?(?:disease|illness|disorder|condition|sickness|stage|grade)\b",
            r"\bwhat(?:'s|’s| is)\s+wrong\b|\bwhat\s+(?:is|are)\s+the\s+(?:finding|abnormalit)",
            rf"\b(?:do|does|did)\s+{_SOMEONE}\s+(?:have|suffer)\b",
            rf"\b(?:is|are|was|could|can|might|may|would)\s+{_SOMEONE}\s+(?:(?:be|look|likely|probably)\s+)*"
            r"(?:malignant|benign|cancerous|infected|inflamed|dangerous|serious|harmless|normal|abnormal|healthy|ill|sick|dying"
            r"|fatal|contagious|pregnant|fractured|broken)\b",
            rf"\b(?:is|are|was|could|can|might|may|would)\s+(?:{_SOMEONE}\s+(?:be\s+)?an?|{_IT}(?:\s+be)?)\s+(?:\w+\s+)?"
            r"(?:malignanc\w*|cancers?|carcinomas?|metasta\w+|tumou?rs?|infection|inflammation|fracture|stroke|bleeding)\b",
            r"\b(?:malignant|cancerous)\s+or\s+(?:benign|not|harmless)\b|\bbenign\s+or\s+(?:malignant|cancerous)\b",
            r"\bhow\s+(?:serious|dangerous|severe|bad|long)\b",
            # what should be done about it
            r"\btreat(?:ed|ing|ment|ments|able|s)?\b|\btherap\w*|\bmedicat\w*|\bmedicines?\b|\bdrugs?\b|\bdos(?:e|es|age|ing)\b",
            r"\bprescri\w*|\bpills?\b|\bantibiotic\w*|\bchemo\w*|\bradiotherap\w*|\bbiops\w*|\bcur(?:e|ed|able)\b|\bremedy\b",
            r"\bsurger(?:y|ies)\b|\bsurgical(?:ly)?\b|\boperat(?:e|ed|ion|ions)\b|\bmanage(?:d|ment)\b",
            rf"\b(?:should|must|shall|ought)\s+(?:not\s+)?{_SOMEONE}\b|\brecommend\w*|\badvi[cs]e\b",
            r"\bwhat\b.*\b(?:should|can|must|shall|could)\b.*\b(?:do|done)\b",
            r"\b(?:see|call|consult|visit)\s+(?:a|the|my|your)\s+(?:doctor|physician|specialist|surgeon|oncologist)\b",
        )
    ),
    re.IGNORECASE,
)


def asks_for_advice(question: str) -> bool:
    """Whether a question (in English) asks for a diagnosis, a prognosis or what to do about it.

    Words decide, so it errs on the side of the line being shown: "which organ is treated by dialysis" counts too.
    """
    return _ADVICE.search(question) is not None
