"""The packaged knowledge entries keep their own rules; a user's file adds and replaces; bad files are told apart."""

from __future__ import annotations

import re
from collections import Counter
from itertools import chain
from pathlib import Path

import pytest
import yaml

from monai_mimo.errors import DataError
from monai_mimo.mimoseg.catalogue import catalogue
from monai_mimo.mimoseg.catalogue.vocabulary import standard_name, vocabulary
from monai_mimo.mimoseg.questions import knowledge
from monai_mimo.mimoseg.questions.knowledge import ASPECTS, Knowledge, load_knowledge, modality_words, relations

FOLDER = Path(knowledge.__file__).parent
FILES = sorted(FOLDER.glob("*.yaml"))
RECORDS = load_knowledge()
LINKS = {"of", "the", "and", "or"}  # words of names that give nothing away


def used_entities() -> set[str]:
    """The standard names of all entities that a record of the catalogue labels."""
    files = (file for record in catalogue().values() for layout in record.layouts for file in layout.labels)
    return {standard_name(entity) or entity for file in files for entity in file.entities}


def all_facts(record: Knowledge) -> list[str]:
    return [*chain.from_iterable(record.facts.values()), *record.apart]


def own_facts() -> list[tuple[str, str]]:
    """(entity, fact) as they stand in the files, where what members of a family share is written once."""
    found = []
    for file in FILES:
        for entity, record in yaml.safe_load(file.read_text()).items():
            facts = [*chain.from_iterable(record.get("facts", {}).values()), *record.get("apart", [])]
            found += [(entity, fact) for fact in facts]
    return found


def names(entity: str) -> set[str]:
    """The entity's names and those of its family, in small letters."""
    found, at = {entity.casefold()}, standard_name(entity)
    while at:
        found |= {name.casefold() for name in (at, *vocabulary()[at].synonyms)}
        at = vocabulary()[at].family
    return found


def test_every_entity_of_the_catalogue_has_a_record() -> None:
    assert len(used_entities()) >= 100
    assert used_entities() - set(RECORDS) == set()


def test_every_entity_of_the_vocabulary_has_a_record() -> None:
    assert set(vocabulary()) - set(RECORDS) == set()


def test_no_entity_is_described_twice() -> None:
    """YAML would keep the last one without a word."""
    named = [line[:-1] for file in FILES for line in file.read_text().splitlines() if re.match(r"[^\s#].*:$", line)]
    assert [entity for entity, count in Counter(named).items() if count > 1] == []
    assert set(named) == set(RECORDS)


@pytest.mark.parametrize("entity", sorted(RECORDS))
def test_facts_name_neither_entity_nor_modality(entity: str) -> None:
    """Synonyms are looked for as they stand, each word of the name with any ending, give-away stems at the start of words."""
    record = RECORDS[entity]
    words = set(re.findall(r"\w+", entity.casefold())) - LINKS
    stems = [word[:-1] if len(word) > 6 else word for word in words if len(word) > 4] + record.give_away
    short = [word for word in words if len(word) <= 4]
    bad = [rf"\b{re.escape(name)}\b" for name in names(entity)]
    bad += [rf"\b{re.escape(stem.casefold())}" for stem in stems] + [rf"\b{word}s?\b" for word in short]
    bad += [rf"(?<!\w){re.escape(word.casefold())}(?!\w)" for word in modality_words()]
    found = [(fact, hit[0]) for fact in all_facts(record) if (hit := re.search("|".join(bad), fact.casefold()))]
    assert found == []


@pytest.mark.parametrize("entity", sorted(vocabulary()))
def test_a_record_tells_enough(entity: str) -> None:
    """Ten facts of three aspects. What can be asked by one fact or two, at least one of them apart if the entity has relatives,
    makes 40 questions, however these are worded."""
    record = RECORDS[entity]
    facts, apart = len(all_facts(record)), len(record.apart)
    assert facts >= 10
    assert len(record.facts) >= 3
    assert set(record.facts) <= set(ASPECTS)
    assert ("function" in record.facts) == (record.kind != "lesion")
    without = facts - apart if apart else 0
    assert facts + facts * (facts - 1) // 2 - without - without * (without - 1) // 2 >= 40
    assert len(set(record.sources)) == len(record.sources) >= 2
    assert not record.reviewed  # until a clinician has read it, and this line is changed


def test_facts_are_distinct() -> None:
    counts = Counter(fact.casefold() for _, fact in own_facts())
    assert [fact for fact, count in counts.items() if count > 1] == []
    for entity, record in RECORDS.items():
        assert max(Counter(all_facts(record)).values()) == 1, entity


def test_facts_are_short_predicates_in_the_right_number() -> None:
    """Plural entities take "are" and "have", others "is" and "has"; a predicate has 6 to 25 words."""
    for entity, record in RECORDS.items():
        for fact in all_facts(record):
            words = fact.split()
            assert 6 <= len(words) <= 25, (entity, fact)
            assert words[0] not in ({"is", "has", "lies"} if record.plural else {"are", "have", "lie"}), (entity, fact)
            assert record.plural or re.search(r"(s|may|can|must|often|mostly|usually),?$", words[0]), (entity, fact)


def test_relatives_are_told_apart() -> None:
    """Members of a family whose names are in the vocabulary have facts of their own, which no other member has."""
    for entity, about in vocabulary().items():
        if about.family and entity in RECORDS:
            apart = set(RECORDS[entity].apart)
            others = [e for e, a in vocabulary().items() if a.family == about.family and e != entity]
            known = set(chain.from_iterable(all_facts(RECORDS[other]) for other in others))
            own = apart or set(all_facts(RECORDS[entity]))
            assert own, entity
            assert own & known == set(), entity


def test_left_and_right_differ_in_their_sides_alone() -> None:
    left, right = RECORDS["left kidney"], RECORDS["right kidney"]
    assert left.facts == right.facts == RECORDS["kidney"].facts
    assert "lies on the side of the body that holds the spleen" in left.apart
    assert set(left.apart) & set(right.apart) == set()


def test_a_branch_passes_on_what_sets_it_apart() -> None:
    """A level of the neck has the holes of all of them as plain anatomy, and its own place in the row apart."""
    branch, level = RECORDS["vertebra of the neck"], RECORDS["C5 vertebra"]
    assert set(branch.apart) <= set(level.facts["anatomy"])
    assert set(branch.apart) & set(level.apart) == set()
    assert level.sources == RECORDS["vertebra"].sources


def test_relations_hold_between_entities_with_records() -> None:
    assert len(relations()) >= 30
    for relation in relations():
        assert len(set(relation.entities)) == len(relation.entities) >= 2
        for entity in relation.entities:
            assert entity in RECORDS
            words = [w for w in re.findall(r"\w+", entity.casefold()) if w not in LINKS | {"left", "right"}]
            for fact in relation.facts:
                assert not re.search(r"\bthe (first|second)\b(?! loop)", fact) or "in this order" in fact
                for word in words:
                    stem = word[:-1] if len(word) > 6 else word
                    assert not re.search(rf"\b{re.escape(stem)}", fact.casefold()), (entity, fact)
    assert ("left kidney", "left adrenal gland") in {relation.entities for relation in relations()}


def write(file: Path, text: str) -> Path:
    file.write_text(text)
    return file


OWN = """
thyroid:
  kind: gland
  facts: {function: [makes two hormones that hold iodine], anatomy: [lies in front of the trachea like a butterfly]}
  sources: [a textbook, a guideline]
"""


def test_own_records_are_added_and_replace(tmp_path: Path) -> None:
    own = write(tmp_path / "own.yaml", OWN + OWN.replace("thyroid", "liver"))
    records = load_knowledge([own])
    assert records["thyroid"] == records["liver"]
    assert records["thyroid"].facts["function"] == ["makes two hormones that hold iodine"]
    assert records["spleen"] == RECORDS["spleen"]
    assert load_knowledge()["liver"] == RECORDS["liver"] != records["liver"]


def test_members_follow_a_replaced_record(tmp_path: Path) -> None:
    own = write(tmp_path / "own.yaml", OWN.replace("thyroid", "kidney"))
    records = load_knowledge([own])
    assert records["left kidney"].facts == records["kidney"].facts
    assert records["left kidney"].apart == RECORDS["left kidney"].apart


def test_a_later_file_replaces_an_earlier_one(tmp_path: Path) -> None:
    first = write(tmp_path / "first.yaml", OWN)
    second = write(tmp_path / "second.yaml", OWN.replace("butterfly", "shield"))
    assert "shield" in load_knowledge([first, second])["thyroid"].facts["anatomy"][0]


def test_a_member_is_reviewed_when_all_of_it_is(tmp_path: Path) -> None:
    reviewed = OWN.rstrip() + "\n  reviewed: true\n"
    member = "{like: thyroid, side: left, reviewed: true}"
    both = write(tmp_path / "both.yaml", f"{reviewed}left thyroid: {member}\n")
    base_not = write(tmp_path / "base_not.yaml", f"{OWN}left thyroid: {member}\n")
    member_not = write(tmp_path / "member_not.yaml", f"{reviewed}left thyroid: {{like: thyroid, side: left}}\n")
    assert load_knowledge([both])["left thyroid"].reviewed
    assert not load_knowledge([base_not])["left thyroid"].reviewed
    assert not load_knowledge([member_not])["left thyroid"].reviewed


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("thyroid: [", "YAML"),
        ("- thyroid", "list"),
        ("thyroid: gland", "thyroid"),
        (OWN.replace("kind: gland", "kind: butterfly"), "thyroid.kind"),
        (OWN.replace("kind: gland", ""), "thyroid.kind"),
        (OWN.replace("function", "purpose"), "thyroid.facts.purpose"),
        (OWN.replace("makes two hormones that hold iodine", "Makes hormones."), "not a predicate"),
        (OWN.replace("[makes two hormones that hold iodine]", "makes hormones"), "thyroid.facts.function"),
        (OWN.replace("[a textbook, a guideline]", "[a textbook]"), "thyroid.sources"),
        (OWN + "  color: red\n", "thyroid.color"),
        ("thyroid: {like: kindey}", "'kindey'"),
        ("a: {like: b}\nb: {like: a}", "no circle"),
        ("thyroid: {like: kidney, side: upper}", "thyroid.side"),
    ],
)
def test_a_bad_file_gives_one_clear_error(tmp_path: Path, text: str, says: str) -> None:
    file = write(tmp_path / "own.yaml", text)
    with pytest.raises(DataError) as caught:
        load_knowledge([file])
    message = str(caught.value)
    assert str(file) in message
    assert says in message
    assert "\n" not in message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.yaml"):
        load_knowledge([tmp_path / "none.yaml"])
