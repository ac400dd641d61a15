"""The offline writer: true to the records, varied, in good grammar, the same for the same seed."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_mimo.mimoseg.questions.drafts import Draft
from monai_mimo.mimoseg.questions.knowledge import ASPECTS, Knowledge, load_knowledge
from monai_mimo.mimoseg.questions.offline import OfflineWriter, article, facts_by_aspect, with_also
from monai_mimo.mimoseg.questions.validate import broken_rules
from tests.mimoseg.questions.conftest import EXAMPLE

KEYS = [(3, ""), (4, "box"), (4, "point")]
CONNECTIVES = {"the", "it", "they", "also", "and", "anatomically", "clinically", "whereas"}


def write(
    knowledge: dict[str, Knowledge], *entities: str, perspective: int = 3, clue: str = "", count: int = 60
) -> list:
    return OfflineWriter(knowledge).write(entities, perspective, clue, count, seed=0)


@pytest.mark.parametrize(("perspective", "clue"), KEYS)
def test_at_least_forty_distinct_questions(knowledge: dict[str, Knowledge], perspective: int, clue: str) -> None:
    drafts = write(knowledge, "liver", perspective=perspective, clue=clue)
    assert len({draft.question for draft in drafts}) == len(drafts) >= 40


@pytest.mark.parametrize(("perspective", "clue"), KEYS)
@pytest.mark.parametrize("entity", ["liver", "left kidney", "portal and splenic veins", "skin lesion"])
def test_every_draft_keeps_the_rules(knowledge: dict[str, Knowledge], entity: str, perspective: int, clue: str) -> None:
    drafts = write(knowledge, entity, perspective=perspective, clue=clue)
    assert drafts
    for draft in drafts:
        assert broken_rules(draft, knowledge) == [], draft
        assert (draft.perspective, draft.clue, draft.entities) == (perspective, clue, (entity,))
        assert set(draft.aspects) <= set(ASPECTS)


@pytest.mark.parametrize(("perspective", "clue"), KEYS[:2])
@pytest.mark.parametrize(
    "entities",
    [
        ("liver", "spleen"),
        ("left kidney", "right kidney"),
        ("spleen", "skin lesion"),
        ("portal and splenic veins", "liver", "left kidney"),
    ],
)
def test_several_entities(
    knowledge: dict[str, Knowledge], entities: tuple[str, ...], perspective: int, clue: str
) -> None:
    drafts = write(knowledge, *entities, perspective=perspective, clue=clue, count=20)
    assert len(drafts) >= 8
    for draft in drafts:
        assert broken_rules(draft, knowledge) == [], draft


def test_what_two_have_together_is_asked(knowledge: dict[str, Knowledge], monkeypatch: pytest.MonkeyPatch) -> None:
    from monai_mimo.mimoseg.questions import offline, validate
    from monai_mimo.mimoseg.questions.knowledge import Relation

    relation = Relation(entities=("spleen", "liver"), facts=["lie next to the diaphragm, one on each flank"])
    for module in (offline, validate):
        monkeypatch.setattr(module, "relations", lambda: (relation,))
    for perspective, clue in KEYS[:2]:
        drafts = write(knowledge, "liver", "spleen", perspective=perspective, clue=clue, count=40)
        related = [draft for draft in drafts if draft.aspects == ("relation",)]
        assert related
        for draft in related:
            assert broken_rules(draft, knowledge) == [], draft
            assert "The spleen and the liver lie next to the diaphragm, one on each flank." in draft.explanation


def test_the_explanation_is_made_of_facts(knowledge: dict[str, Knowledge]) -> None:
    """Without the facts of the record and the name, only words that join sentences are left."""
    for entity in ("liver", "left kidney", "portal and splenic veins", "skin lesion"):
        facts = [fact for texts in facts_by_aspect(knowledge[entity]).values() for fact in texts]
        facts = sorted([*facts, *map(with_also, facts)], key=len, reverse=True)
        for perspective, clue in KEYS:
            for draft in write(knowledge, entity, perspective=perspective, clue=clue):
                rest, told = draft.explanation.replace(entity, ""), 0
                for fact in facts:
                    told += fact in rest
                    rest = rest.replace(fact, "")
                assert set(re.findall(r"\w+", rest.lower())) <= CONNECTIVES
                assert told >= min(3, len(knowledge[entity].facts))


def test_plural_names_take_plural_verbs(knowledge: dict[str, Knowledge]) -> None:
    for perspective, clue in KEYS:
        for draft in write(knowledge, "portal and splenic veins", perspective=perspective, clue=clue):
            assert not re.search(
                r"\b(it|does|has|this|one)\b", draft.question.replace("this image", "").replace("this picture", "")
            )
            for text in re.split(r"(?<=\.) ", draft.explanation):
                assert re.match(r"(The portal and splenic veins|They|Anatomically, they|Clinically, they) ", text)


def test_one_of_a_family_is_told_from_the_others(knowledge: dict[str, Knowledge]) -> None:
    for draft in write(knowledge, "left kidney"):
        assert any(fact in draft.question for fact in knowledge["left kidney"].apart)


def test_the_prompt_is_needed(knowledge: dict[str, Knowledge]) -> None:
    """No fact stands in a question of perspective IV."""
    facts = [fact for texts in facts_by_aspect(knowledge["liver"]).values() for fact in texts]
    for draft in write(knowledge, "liver", perspective=4, clue="point"):
        assert draft.question.count("<point>") == 1
        assert not any(fact in draft.question for fact in facts)


def test_the_same_seed_writes_the_same(knowledge: dict[str, Knowledge]) -> None:
    writer = OfflineWriter(knowledge)
    first = writer.write(["liver"], 3, "", 20, seed=1)
    assert writer.write(["liver"], 3, "", 20, seed=1) == first
    assert writer.write(["liver"], 3, "", 20, seed=2) != first
    code = (
        "import pathlib, sys; from monai_mimo.mimoseg.questions.knowledge import load_knowledge;"
        "from monai_mimo.mimoseg.questions.offline import OfflineWriter;"
        "w = OfflineWriter(load_knowledge([pathlib.Path(sys.argv[1])]));"
        "print(*(d.question for d in w.write(['liver'], 3, '', 20, 1)), sep='\\n')"
    )
    other = subprocess.run([sys.executable, "-c", code, str(EXAMPLE)], capture_output=True, text=True, check=True)
    assert other.stdout.splitlines() == [draft.question for draft in first]


def test_nothing_is_written_of_the_unknown(knowledge: dict[str, Knowledge]) -> None:
    assert write(knowledge, "gizzard") == []
    assert write(knowledge, "liver", "gizzard") == []


def test_a_synonym_is_known_and_kept_as_the_name(knowledge: dict[str, Knowledge]) -> None:
    known = {"urinary bladder": knowledge["spleen"].model_copy(update={"give_away": []})}
    for draft in write(known, "bladder"):
        assert "<p> bladder </p> <SEG>" in draft.answer
        assert "bladder" not in draft.question


def test_grammar() -> None:
    assert [article(word) for word in ("organ", "area", "vessel")] == ["an", "an", "a"]
    assert with_also("filters the blood") == "also filters the blood"
    assert with_also("is cut out") == "is also cut out"


@pytest.mark.parametrize(("perspective", "clue"), KEYS)
def test_the_packaged_records_can_be_asked_about(perspective: int, clue: str) -> None:
    """Each gives valid drafts, and forty distinct ones where ten facts may stand in a question."""
    packaged = load_knowledge()
    assert len(packaged) > 90
    writer = OfflineWriter(packaged)
    for entity in packaged:
        drafts = writer.write([entity], perspective, clue, 4, seed=0)
        assert len(drafts) == 4, entity
        for draft in drafts:
            assert broken_rules(draft, packaged) == [], draft
    for entity in ("liver", "left kidney", "myocardium", "basal ganglia", "left femur"):
        assert len(writer.write([entity], perspective, clue, 60, seed=0)) == 60


STEMS = ["blim", "dorv", "fask", "glon", "hurt", "jasp", "kelm", "mord", "nift", "plov", "quan", "srit", "tulk", "vemp"]
WORDS = st.sampled_from([f"{a}{b}" for a in STEMS for b in ("ating", "orum", "ellen", "upish")])
FACTS = st.builds(" ".join, st.tuples(st.sampled_from(["holds", "is", "can", "lies by"]), WORDS, WORDS, WORDS, WORDS))
RECORDS = st.builds(
    lambda kind, facts: Knowledge(kind=kind, facts=facts, sources=["a", "b"]),
    st.sampled_from(["organ", "vessel", "lesion", "device", "gland"]),
    st.dictionaries(st.sampled_from(ASPECTS), st.lists(FACTS, min_size=1, max_size=4, unique=True), min_size=1),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(RECORDS, min_size=1, max_size=3), st.sampled_from(KEYS), st.integers(0, 99))
def test_whatever_the_records_every_draft_keeps_the_rules(
    records: list[Knowledge], key: tuple[int, str], seed: int
) -> None:
    names = ["liver", "skin lesion", "aorta"][: len(records)]
    perspective, clue = key if len(names) == 1 else (key[0], "box" if key[0] == 4 else "")
    knowledge = dict(zip(names, records))
    drafts: list[Draft] = OfflineWriter(knowledge).write(names, perspective, clue, 5, seed)
    for draft in drafts:
        assert broken_rules(draft, knowledge) == [], draft
    if len(names) == 1:
        assert drafts
