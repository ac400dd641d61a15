"""Perspectives III and IV from the knowledge entries alone: facts put into the sentences of `offline.yaml`."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml

from .drafts import Draft
from .knowledge import ASPECTS, Knowledge, relations
from .templates import grounded, listed, sentence
from .words import find_knowledge, give_away

TRIES = 8  # draws for each draft that is wanted
MOST_FACTS = 5  # in an explanation about one entity
CLAUSES = re.compile(r"[,;]| (and|or|that|which|who|whose|when|where|while|as|before|after|until) ")
COUNTS = {2: "two", 3: "three", 4: "four"}


@cache
def sentences() -> dict[str, Any]:
    """The texts of `offline.yaml`."""
    return yaml.safe_load((resources.files(__package__) / "offline.yaml").read_text())


@dataclass(frozen=True)
class Topic:
    """One entity of a question.

    Attributes:
        kind: the word for it: the kind of its entry, or a paler word where that gives an entity of the question away.
        facts: aspect -> facts, without those that it shares with another entity of the question.
        open: the facts that a question may hold, as they give no entity of it away.
        shared: the facts that a question may hold and that are true of another entity of the question too.
        apart: the facts of which a question needs one; empty: it needs none.
        common: those of them that are true of something else too, so that they need another fact beside them.
        closed: finds what gives one of the question's entities away.
    """

    name: str
    kind: str
    plural: bool
    entry_kind: str
    facts: dict[str, list[str]]
    open: dict[str, list[str]]
    shared: dict[str, list[str]]
    apart: list[str]
    common: set[str]
    closed: list[re.Pattern[str]]

    @property
    def kinds(self) -> str:
        return f"{self.kind}s"

    @property
    def grammar(self) -> dict[str, str]:
        """The words of a sentence that agree with the entity."""
        if self.plural:
            words = {"do": "do", "is": "are", "it": "they", "them": "them", "It": "They", "kind": self.kinds}
        else:
            words = {"do": "does", "is": "is", "it": "it", "them": "it", "It": "It", "kind": self.kind}
        return {**words, "kinds": self.kinds, "a": article(self.kind)}


class OfflineWriter:
    """Composes drafts from knowledge entries, without a network; the same arguments give the same drafts."""

    name = "offline"

    def __init__(self, knowledge: Mapping[str, Knowledge]) -> None:
        self.knowledge = knowledge

    def write(self, entities: Sequence[str], perspective: int, clue: str, count: int, seed: int) -> list[Draft]:
        """Up to `count` drafts with distinct questions; none for an entity without an entry."""
        topics = topics_of(entities, self.knowledge)
        rng = random.Random(f"{seed}/{perspective}/{clue}/{'/'.join(entities)}")
        drafts: dict[str, Draft] = {}
        for _ in range(TRIES * count if topics else 0):
            draft = compose(topics, perspective, clue, rng)
            if draft is not None:
                drafts.setdefault(draft.question, draft)
            if len(drafts) == count:
                break
        return list(drafts.values())


def topics_of(entities: Sequence[str], knowledge: Mapping[str, Knowledge]) -> list[Topic]:
    """The entities with what may be told of them; none where one has no entry."""
    entries = [(entity, find_knowledge(entity, knowledge)) for entity in entities]
    known = [(entity, entry) for entity, entry in entries if entry is not None]
    if len(known) < len(entities):
        return []
    closed = [give_away(entity, tuple(entry.give_away)) for entity, entry in known]
    every = {entity: facts_by_aspect(entry) for entity, entry in known}
    topics = []
    for entity, entry in known:
        others = set().union(*(every_fact(every[name]) for name in every if name != entity)) - set(entry.apart)
        facts = without(every[entity], others)
        given_away = {fact for fact in every_fact(every[entity]) if not is_open(fact, closed)}
        words = [entry.kind, "finding" if entry.kind == "lesion" else "structure", "area"]
        topics.append(
            Topic(
                name=entity,
                kind=next((word for word in words if is_open(word, closed)), words[-1]),
                plural=entry.plural,
                entry_kind=entry.kind,
                facts=facts,
                open=without(facts, given_away),
                shared=without(every[entity], given_away | every_fact(facts)),
                apart=entry.apart,
                common={f for f in entry.apart if sum(f in other.apart for other in knowledge.values()) > 1},
                closed=closed,
            )
        )
    return topics


def facts_by_aspect(entry: Knowledge) -> dict[str, list[str]]:
    """Aspect -> facts, in the order of the aspects; what tells the entity from its relatives stands with anatomy."""
    facts: dict[str, list[str]] = {aspect: [] for aspect in ASPECTS}
    facts.update({aspect: list(texts) for aspect, texts in entry.facts.items()})
    facts["anatomy"] += entry.apart
    return without(facts, set())


def without(facts: Mapping[str, Sequence[str]], left_out: set[str]) -> dict[str, list[str]]:
    """The facts but for those that are left out, and no aspect without a fact."""
    kept = {aspect: [fact for fact in texts if fact not in left_out] for aspect, texts in facts.items()}
    return {aspect: texts for aspect, texts in kept.items() if texts}


def every_fact(facts: Mapping[str, Sequence[str]]) -> set[str]:
    """The facts of all aspects."""
    return {fact for texts in facts.values() for fact in texts}


def is_open(text: str, closed: Sequence[re.Pattern[str]]) -> bool:
    """Whether a text gives none of the entities away to which the patterns belong."""
    return not any(pattern.search(text.casefold()) for pattern in closed)


def compose(topics: list[Topic], perspective: int, clue: str, rng: random.Random) -> Draft | None:
    """One draft, or none where the entities have no fact that can be asked about."""
    if perspective == 3:
        parts = reason(topics[0], rng) if len(topics) == 1 else reason_several(topics, rng)
    else:
        parts = point(topics[0], clue, rng) if len(topics) == 1 else point_several(topics, rng)
    if parts is None:
        return None
    question, answer, explanation, aspects = parts
    names = tuple(topic.name for topic in topics)
    return Draft(perspective, names, clue, sentence(question), sentence(answer), explanation, "offline", aspects)


Parts = tuple[str, str, str, tuple[str, ...]]  # question, answer, explanation, aspects that are asked about


def reason(topic: Topic, rng: random.Random) -> Parts | None:
    """III, one entity: one fact or two describe it."""
    facts = [(aspect, fact) for aspect, texts in topic.open.items() for fact in texts]
    needed = [(a, fact) for a, fact in facts if fact in topic.apart] if topic.apart else facts
    if not needed:
        return None
    asked = [rng.choice(needed)]
    others = [(a, fact) for a, fact in facts if (a, fact) not in asked and fact not in topic.apart]
    if others and (asked[0][1] in topic.common or rng.random() < 0.7):
        asked.append(rng.choice(others))
        rng.shuffle(asked)
    texts = sentences()["reasoning"]
    forms = texts["plural"] if topic.plural else texts
    form = rng.choice(forms["one_fact" if len(asked) == 1 else "two_facts"])
    question = form.format(f=asked[0][1], g=asked[-1][1], also_g=with_also(asked[-1][1]), **topic.grammar)
    answers = texts["answers_plural" if topic.plural else "answers"]
    answer = rng.choice(answers).format(entity=grounded([topic.name]), **topic.grammar)
    return question, answer, explain(topic, asked, rng), aspects_of(asked)


def reason_several(topics: list[Topic], rng: random.Random) -> Parts | None:
    """III, several entities: what holds for all of them together, or what tells them apart by one aspect."""
    texts = sentences()["reasoning_several"]
    answer = rng.choice(texts["answers"]).format(entities=grounded([topic.name for topic in topics]))
    words = {"kinds": common_kinds(topics), "count": COUNTS[len(topics)]}
    together = [fact for fact in shared_facts(topics) if is_open(fact, topics[0].closed)]
    can_tell = bool(common_aspects([topic.facts for topic in topics])) and not any(topic.apart for topic in topics)
    if together and can_tell and rng.random() < 0.5:
        fact = rng.choice(together)
        question = rng.choice(texts["relation"]).format(f=fact, **words)
        told_aspect = rng.choice(common_aspects([topic.facts for topic in topics]))
        each = [draw_facts(topic, told_aspect, rng) for topic in topics]
        return question, answer, f"{all_together(topics, fact)} {one_by_one(topics, each, rng)}", ("relation",)
    shared = common_aspects([topic.open for topic in topics])
    apart = {topic.name: [f for f in topic.open.get("anatomy", []) if f in topic.apart] for topic in topics}
    if not shared or any(topic.apart and not apart[topic.name] for topic in topics):
        return None
    aspect = rng.choice(shared)
    facts, clauses = [], []
    for topic in topics:
        stated = [rng.choice(topic.open[aspect])]
        if topic.apart and stated[0] not in topic.apart:
            stated.append(rng.choice(apart[topic.name]))
        elif stated[0] in topic.common:
            plain = [f for f in topic.open[aspect] if f not in topic.apart] or topic.shared.get(aspect, [])
            stated = [*rng.sample(plain, min(1, len(plain))), *stated]
        facts.append(stated)
        clauses.append(" and ".join(stated))
    words["lead"] = rng.choice(texts["lead"][aspect])
    if len(topics) == 2 and not any(topic.plural for topic in topics) and rng.random() < 0.5:
        one, two = topics
        other = f"another {two.kind}" if one.kind == two.kind else f"{article(two.kind)} {two.kind}"
        question = rng.choice(texts["pair"]).format(f=clauses[0], g=clauses[1], kind=one.kind, other=other, **words)
    else:
        items = [f"{thing(topic)} that {clause}" for topic, clause in zip(topics, clauses)]
        question = rng.choice(texts["questions"]).format(items="; ".join(items), **words)
    return question, answer, one_by_one(topics, facts, rng), (aspect,)


def point(topic: Topic, clue: str, rng: random.Random) -> Parts | None:
    """IV, one entity: a question about an aspect of what is marked, which tells nothing of it."""
    texts = sentences()["pointing"]
    aspects = list(topic.facts)
    if not aspects:
        return None
    first, *rest = rng.sample(aspects, len(aspects))
    forms = {**texts["single"], **texts.get(f"of_{topic.entry_kind}s", {})}
    follow = {**texts["follow"], **texts.get(f"follow_of_{topic.entry_kind}s", {})}
    ref = rng.choice(texts["refs"][clue]).format(**topic.grammar)
    chance = rng.random()
    asked = [first]
    if chance < 0.3:
        question = f"{rng.choice(texts['naming'])} {sentence(rng.choice(follow[first]))}"
    else:
        question = rng.choice(forms[first])
        if rest and chance > 0.75:
            asked.append(rest[0])
            question += f" {rng.choice(follow[rest[0]])}"
    question = question.format(ref=ref, **topic.grammar)
    answer = rng.choice(texts["answers"][clue]).format(entity=grounded([topic.name]), **topic.grammar)
    facts = [(aspect, fact) for aspect in asked for fact in draw_facts(topic, aspect, rng, most=2 if asked[1:] else 3)]
    return question, answer, explain(topic, facts, rng), tuple(asked)


def point_several(topics: list[Topic], rng: random.Random) -> Parts | None:
    """IV, several entities: a question about an aspect of all that is marked, or about what they have to do together."""
    texts = sentences()["pointing_several"]
    together = shared_facts(topics, any_order=True)
    shared = common_aspects([topic.facts for topic in topics])
    if not shared:
        return None
    told_aspect = rng.choice(shared)
    aspect = rng.choice([told_aspect, "relation"]) if together else told_aspect
    boxes = ["<box>"] * len(topics)
    words = {"kinds": common_kinds(topics), "count": COUNTS[len(topics)]}
    refs = rng.choice(texts["refs"]).format(boxes=f"{', '.join(boxes[:-1])} and {boxes[-1]}", **words)
    question = rng.choice(texts["questions"][aspect]).format(refs=refs)
    answer = rng.choice(texts["answers"]).format(entities=grounded([topic.name for topic in topics]))
    if aspect == "relation":
        each = [draw_facts(topic, told_aspect, rng) for topic in topics]
        explanation = f"{all_together(topics, rng.choice(together))} {one_by_one(topics, each, rng)}"
    else:
        explanation = one_by_one(topics, [draw_facts(topic, told_aspect, rng, most=2) for topic in topics], rng)
    return question, answer, explanation, (aspect,)


def explain(topic: Topic, facts: list[tuple[str, str]], rng: random.Random) -> str:
    """The given facts, then one of each aspect that they leave out, up to `MOST_FACTS` in all."""
    left_out = [aspect for aspect in topic.facts if aspect not in aspects_of(facts)]
    kept = set(rng.sample(left_out, min(len(left_out), max(0, MOST_FACTS - len(facts)))))
    more = [(aspect, fact) for aspect in left_out if aspect in kept for fact in draw_facts(topic, aspect, rng)]
    return state_facts(topic, [*facts, *more], rng)


def state_facts(topic: Topic, facts: Sequence[tuple[str, str]], rng: random.Random) -> str:
    """Sentences that tell the facts; the first names the entity. Two short facts of one aspect share a sentence."""
    texts = sentences()["explanation"]
    stated: list[str] = []
    for aspect, fact in joined(facts):
        if not stated:
            stated.append(texts["first"].format(name=topic.name, f=fact))
            continue
        lead, before = stated[-1].split()[0], f"{stated[-1]} {fact}"
        forms = [
            form
            for form in texts["more"][aspect]
            if form.split()[0] != lead and not ("also" in form and "also" in before)
        ]
        stated.append(rng.choice(forms).format(f=fact, also_f=with_also(fact), **topic.grammar))
    return " ".join(sentence(text) for text in stated)


def joined(facts: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The facts, neighbors of one aspect put together with "and" where neither has a clause of its own."""
    result: list[tuple[str, str]] = []
    for aspect, fact in facts:
        before = result[-1] if result else ("", "")
        if before[0] == aspect and not CLAUSES.search(f"{before[1]} {fact}"):
            result[-1] = (aspect, f"{before[1]} and {fact}")
        else:
            result.append((aspect, fact))
    return result


def with_also(fact: str) -> str:
    """The predicate with "also" where it belongs: "also filters", "is also filtered"."""
    verb, _, rest = fact.partition(" ")
    return f"{verb} also {rest}" if verb in ("is", "are", "can", "may", "must") else f"also {fact}"


def one_by_one(topics: Sequence[Topic], facts: Sequence[Sequence[str]], rng: random.Random) -> str:
    """What is told of each entity; of two with one short fact each in one sentence."""
    if len(topics) == 2 and all(len(stated) == 1 for stated in facts) and rng.random() < 0.5:
        names = {"name": topics[0].name, "name2": topics[1].name}
        return sentences()["explanation"]["differ"].format(f=facts[0][0], g=facts[1][0], **names)
    aspects = {
        fact: aspect for t in topics for part in (t.facts, t.shared) for aspect, texts in part.items() for fact in texts
    }
    return " ".join(state_facts(topic, [(aspects[f], f) for f in stated], rng) for topic, stated in zip(topics, facts))


def all_together(topics: Sequence[Topic], fact: str) -> str:
    """A sentence about all entities, in the order of the relation that it comes from."""
    names = {topic.name for topic in topics}
    [order] = [r.entities for r in relations() if set(r.entities) == names and fact in r.facts][:1]
    return sentence(f"{listed(order)} {fact}.")


def shared_facts(topics: Sequence[Topic], any_order: bool = False) -> list[str]:
    """What is known of all entities together. Facts that speak of an order are left out where the order is another."""
    names = tuple(topic.name for topic in topics)
    facts = [(r.entities, fact) for r in relations() if set(r.entities) == set(names) for fact in r.facts]
    return [f for order, f in facts if any_order or order == names or not ("order" in f or "respectively" in f)]


def draw_facts(topic: Topic, aspect: str, rng: random.Random, most: int = 1) -> list[str]:
    """Up to `most` facts of one aspect, and no more than one of those that tell the entity from its relatives."""
    facts = rng.sample(topic.facts[aspect], len(topic.facts[aspect]))
    apart = [fact for fact in facts if fact in topic.apart]
    return [fact for fact in facts if fact not in apart[1:]][:most]


def aspects_of(facts: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """The aspects of facts, each once."""
    return tuple(dict.fromkeys(aspect for aspect, _ in facts))


def common_aspects(facts: Sequence[Mapping[str, Sequence[str]]]) -> list[str]:
    """The aspects under which something is known of each entity."""
    return [aspect for aspect in ASPECTS if all(aspect in of_one for of_one in facts)]


def common_kinds(topics: Sequence[Topic]) -> str:
    """One word in the plural for all entities."""
    kinds = {topic.kinds for topic in topics}
    if len(kinds) == 1:
        return kinds.pop()
    return "findings" if all(topic.entry_kind == "lesion" for topic in topics) else "structures"


def thing(topic: Topic) -> str:
    """ "an organ", or "vessels" where the name is plural."""
    return topic.kinds if topic.plural else f"{article(topic.kind)} {topic.kind}"


def article(word: str) -> str:
    """ "a" or "an"."""
    return "an" if word[0] in "aeiou" else "a"
