"""The rules that every pair of perspectives III and IV keeps, whoever wrote it.

Each rule is a function that says whether a draft breaks it; `RULES` gives each its name, under which the build report counts
it. Words are compared by their first letters (`words.content_words`), so that "filters" and "filtering" are one.

| rule | what breaks it |
|---|---|
| entity without knowledge | there is no entry of an entity; nothing else is looked at |
| clue | III with a prompt, IV without one, several entities with points |
| form | no question, an answer that does not end, or a place of a template that was not filled |
| tags | a tag other than `<p> entity </p> <SEG>` in the answer and `<point>` or `<box>` in the question |
| grounding | the answer does not ground exactly the entities, in order, once each |
| gives away | the question holds a name of an entity, a synonym, or a word that gives it away (`words.give_away`) |
| markers | III with a marker, IV without one for each entity |
| leaves one out | several entities: IV has no sentence with all markers; III touches no fact of one of them |
| clear without the prompt | IV whose question tells more than `REVEALED` of a fact: it could be answered without the image |
| tells nothing | III whose question holds less than `ASKED` of every fact of the entities: nothing to reason about |
| fits another | III that tells of an entity only facts which another entry holds too (but for members of its own family) |
| modality | IV with a word that tells how the image was made, in question, answer or explanation |
| beyond the record | more than 1 - `COVERED` of the words of the explanation are neither in the entries nor in the question |
| explains nothing | the explanation holds less than `EXPLAINED` of every fact of an entity |
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from datasketch import MinHash, MinHashLSH

from .drafts import Draft
from .knowledge import Knowledge, relations
from .words import all_names, content_words, find_knowledge, give_away, modality_pattern

NO_KNOWLEDGE, NEAR_DUPLICATE = "entity without knowledge", "near-duplicate"
REVEALED, ASKED, TOUCHED, COVERED, EXPLAINED = 0.6, 0.5, 0.3, 0.7, 0.5
SAME = 0.7  # Jaccard similarity of word pairs from which two questions are one
EMPTY = MinHash(num_perm=128, seed=1)
BANDS, ROWS = 21, 6  # of the index: it finds 93 % of the pairs at `SAME`, and what it finds is looked at again

GROUNDED = re.compile(r"<p> ([^<>]+) </p> <SEG>")
MARKER = re.compile(r"<(?:point|box)>")
STRAY = re.compile(r"[<>]")
UNFILLED = re.compile(r"[{}]")

Entries = Mapping[str, Knowledge]  # a rule is given those of the draft's entities, and all


def broken_rules(draft: Draft, knowledge: Mapping[str, Knowledge]) -> list[str]:
    """The rules that a draft breaks; none for a draft that may be used."""
    entries = {entity: entry for entity in draft.entities if (entry := find_knowledge(entity, knowledge)) is not None}
    if not draft.entities or len(entries) < len(set(draft.entities)):
        return [NO_KNOWLEDGE]
    return [name for name, breaks in RULES.items() if breaks(draft, entries, knowledge)]


def wrong_clue(draft: Draft, entries: Entries, knowledge: Entries) -> bool:
    """III has no prompt, IV has one, and several entities have boxes."""
    if draft.perspective == 3:
        return draft.clue != ""
    return draft.clue not in (("point", "box") if len(draft.entities) == 1 else ("box",))


def wrong_form(draft: Draft, entries: Entries, knowledge: Entries) -> bool:
    """The question asks, answer and explanation are whole sentences, and nothing of a template is left."""
    question, answer, explanation = draft.question.strip(), draft.answer.strip(), draft.explanation.strip()
    whole = question.endswith(("?", ".")) and answer.endswith((".", "!", "<SEG>")) and explanation.endswith(".")
    return not whole or bool(UNFILLED.search(question + answer + explanation))


def wrong_tags(draft: Draft, entries: Entries, knowledge: Entries) -> bool:
    """Tags stand only where they may, and are written as they should be."""
    rest = MARKER.sub("", draft.question) + GROUNDED.sub("", draft.answer) + draft.explanation
    return bool(STRAY.search(rest))


def wrong_grounding(draft: Draft, entries: Entries, knowledge: Entries) -> bool:
    """The answer grounds exactly the entities, in order, once each."""
    return GROUNDED.findall(draft.answer) != list(draft.entities) or len(set(draft.entities)) < len(draft.entities)


def gives_away(draft: Draft, entries: Entries, knowledge: Entries) -> bool:
    """The question names an entity or holds a word that gives it away."""
    text = draft.question.casefold()
    return any(give_away(entity, tuple(entry.give_away)).search(text) for entity, entry in entries.items())


def wrong_markers(draft: Draft, entries: Entries, knowledge: Entries) -> bool:
    """III has no marker, IV one of the right kind for each entity."""
    wanted = [f"<{draft.clue}>"] * len(draft.entities) if draft.perspective == 4 else []
    return MARKER.findall(draft.question) != wanted


def leaves_one_out(draft: Draft, entries: Entries, knowledge: Entries) -> bool:
    """A question about several entities is about all of them."""
    if len(draft.entities) == 1:
        return False
    if draft.perspective == 4:
        sentences = re.split(r"(?<=[.?!]) ", draft.question)
        return not any(len(MARKER.findall(text)) == len(draft.entities) for text in sentences)
    return any(best_coverage(draft.question, facts_of(e, r, draft.entities)) < TOUCHED for e, r in entries.items())


def clear_without_prompt(draft: Draft, entries: Entries, knowledge: Entries) -> bool:
    """A question of IV that tells a fact of the entity could be answered by it alone."""
    if draft.perspective == 3:
        return False
    return any(best_coverage(draft.question, facts_of(e, r, draft.entities)) > REVEALED for e, r in entries.items())


def tells_nothing(draft: Draft, entries: Entries, knowledge: Entries) -> bool:
    """A question of III describes the entity by a fact of its entry."""
    if draft.perspective == 4:
        return False
    return all(best_coverage(draft.question, facts_of(e, r, draft.entities)) < ASKED for e, r in entries.items())


def fits_another(draft: Draft, entries: Entries, knowledge: Entries) -> bool:
    """What a question of III tells of an entity is not all true of another one. Who has all of its facts is of its family."""
    if draft.perspective == 4:
        return False
    for entry in entries.values():
        facts = facts_in(entry)
        stated = [fact for fact in facts if fact_coverage(draft.question, fact) >= ASKED]
        like = (
            [other for other in knowledge.values() if other is not entry and has_all(other, stated)] if stated else []
        )
        if any(not has_all(other, facts) for other in like):
            return True
    return False


def tells_modality(draft: Draft, entries: Entries, knowledge: Entries) -> bool:
    """IV holds for any image, however it was made."""
    text = f"{draft.question} {draft.answer} {draft.explanation}"
    for entity in draft.entities:  # whose name may hold such a word
        text = text.replace(entity, " ")
    return draft.perspective == 4 and bool(modality_pattern().search(text.casefold()))


def beyond_record(draft: Draft, entries: Entries, knowledge: Entries) -> bool:
    """The explanation says what the entries say; the question's own words may come back."""
    known = content_words(draft.question).union(
        *(content_words(fact) for e, r in entries.items() for fact in facts_of(e, r, draft.entities)),
        *(content_words(name) for entity in entries for name in all_names(entity)),
    )
    words = content_words(draft.explanation)
    return len(words & known) < COVERED * len(words)


def explains_nothing(draft: Draft, entries: Entries, knowledge: Entries) -> bool:
    """The explanation tells a fact of each entity."""
    return any(best_coverage(draft.explanation, facts_of(e, r, draft.entities)) < EXPLAINED for e, r in entries.items())


RULES: dict[str, Callable[[Draft, Entries, Entries], bool]] = {
    "clue": wrong_clue,
    "form": wrong_form,
    "tags": wrong_tags,
    "grounding": wrong_grounding,
    "gives away": gives_away,
    "markers": wrong_markers,
    "leaves one out": leaves_one_out,
    "clear without the prompt": clear_without_prompt,
    "tells nothing": tells_nothing,
    "fits another": fits_another,
    "modality": tells_modality,
    "beyond the record": beyond_record,
    "explains nothing": explains_nothing,
}


def facts_of(entity: str, entry: Knowledge, together: Sequence[str] = ()) -> list[str]:
    """All that is known of an entity, and of the entities `together` with which it is asked for."""
    shared = [relation for relation in relations() if set(relation.entities) == set(together)]
    return facts_in(entry) + [fact for relation in shared for fact in relation.facts]


def facts_in(entry: Knowledge) -> list[str]:
    """All facts of an entry."""
    return [fact for texts in (*entry.facts.values(), entry.apart) for fact in texts]


def has_all(entry: Knowledge, facts: Sequence[str]) -> bool:
    """Whether an entry holds all of these facts."""
    for fact in facts:
        for texts in (entry.apart, *entry.facts.values()):
            if fact in texts:
                break
        else:
            return False
    return True


def fact_coverage(text: str, fact: str) -> float:
    """How much of a fact a text tells: the part of the fact's words that it holds, from 0 to 1."""
    words = content_words(fact)
    return len(words & content_words(text)) / len(words) if words else 0.0


def best_coverage(text: str, facts: Sequence[str]) -> float:
    """How much `text` tells of the fact that it tells best."""
    return max((fact_coverage(text, fact) for fact in facts), default=0.0)


def near_duplicates(questions: Sequence[str]) -> set[int]:
    """The numbers of the questions that say almost what an earlier one, which is kept, says."""
    index = MinHashLSH(num_perm=len(EMPTY), params=(BANDS, ROWS))
    kept: dict[int, MinHash] = {}
    for number, question in enumerate(questions):
        words = ["", *re.findall(r"<?\w+>?", question.casefold()), ""]
        code = EMPTY.copy()
        code.update_batch([" ".join(pair).encode() for pair in zip(words, words[1:])])
        if not any(code.jaccard(kept[like]) >= SAME for like in index.query(code)):
            index.insert(number, code)
            kept[number] = code
    return set(range(len(questions))) - set(kept)
