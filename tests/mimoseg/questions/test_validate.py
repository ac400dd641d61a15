"""Each rule finds a fault that was planted in a good draft, and finds none in the good ones."""

from __future__ import annotations

from dataclasses import replace

import pytest

from monai_mimo.mimoseg.questions.drafts import Draft
from monai_mimo.mimoseg.questions.knowledge import Knowledge
from monai_mimo.mimoseg.questions.validate import NO_KNOWLEDGE, RULES, broken_rules, near_duplicates
from monai_mimo.mimoseg.questions.words import give_away

ONE = Draft(
    3,
    ("liver",),
    "",
    "Which organ in this image makes bile for the digestion of fat?",
    "This is the <p> liver </p> <SEG>.",
    "The liver makes bile for the digestion of fat. It lies under the right dome of the diaphragm.",
    "by hand",
)
SEVERAL = Draft(
    3,
    ("liver", "spleen"),
    "",
    "One organ here stores sugar as glycogen, and another removes old red cells from the blood. Which two are they?",
    "These are the <p> liver </p> <SEG> and the <p> spleen </p> <SEG>.",
    "The liver stores sugar as glycogen between meals, whereas the spleen removes old red cells from the blood.",
    "by hand",
)
POINT = Draft(
    4,
    ("spleen",),
    "point",
    "What can go wrong with the organ at <point>?",
    "The point lies on the <p> spleen </p> <SEG>.",
    "The spleen swells in malaria and in portal hypertension. It can rupture in blunt injury.",
    "by hand",
)
BOXES = Draft(
    4,
    ("spleen", "liver"),
    "box",
    "How do the tasks of the organs in <box> and <box> differ?",
    "The boxes hold the <p> spleen </p> <SEG> and the <p> liver </p> <SEG>.",
    "The spleen removes old red cells from the blood. The liver makes bile for the digestion of fat.",
    "by hand",
)
KIDNEY = Draft(
    3,
    ("left kidney",),
    "",
    "Which organ in this image filters the blood and has the longer vein of the two?",
    "This is the <p> left kidney </p> <SEG>.",
    "The left kidney filters the blood and makes urine. It has the longer vein of the two.",
    "by hand",
)

FAULTS: list[tuple[str, Draft, dict]] = [
    ("clue", ONE, {"clue": "box"}),
    ("clue", POINT, {"clue": ""}),
    ("clue", BOXES, {"clue": "point", "question": BOXES.question.replace("<box>", "<point>")}),
    ("form", ONE, {"explanation": "The liver makes bile for the digestion of fat"}),
    ("form", ONE, {"question": "Which {kind} in this image makes bile for the digestion of fat?"}),
    ("tags", ONE, {"answer": "This is the <p> liver </p> <SEG>, <p>."}),
    ("tags", ONE, {"explanation": "The <p> liver </p> <SEG> makes bile for the digestion of fat."}),
    ("grounding", ONE, {"answer": "This is the <p> spleen </p> <SEG>."}),
    ("grounding", ONE, {"answer": "This is the <p> liver </p> <SEG>, the <p> liver </p> <SEG>."}),
    ("grounding", BOXES, {"answer": SEVERAL.answer}),
    ("grounding", SEVERAL, {"answer": "It is the <p> liver </p> <SEG>."}),
    ("gives away", ONE, {"question": "Does the liver make bile for the digestion of fat?"}),
    ("gives away", ONE, {"question": "Which organ of hepatic disease makes bile for the digestion of fat?"}),
    ("gives away", SEVERAL, {"question": SEVERAL.question.replace("another", "the splenic organ")}),
    ("gives away", KIDNEY, {"question": KIDNEY.question.replace("organ", "organ on the left")}),
    ("markers", ONE, {"question": "Which organ in <box> makes bile for the digestion of fat?"}),
    ("markers", POINT, {"question": "What can go wrong with the organ in <box>?"}),
    ("markers", BOXES, {"question": "What is the organ in <box> for?"}),
    ("leaves one out", SEVERAL, {"question": "Which organs here store sugar as glycogen between meals?"}),
    ("leaves one out", BOXES, {"question": "What does the organ in <box> do? What is in <box>?"}),
    ("clear without the prompt", POINT, {"question": "Can the organ at <point> rupture in a blunt injury?"}),
    ("tells nothing", ONE, {"question": "Which large organ do you see in this image?"}),
    ("fits another", KIDNEY, {"question": "Which organ in this image filters the blood and makes urine?"}),
    ("modality", POINT, {"question": "What can go wrong with the organ at <point> of this CT?"}),
    ("modality", POINT, {"explanation": f"{POINT.explanation} It is bright on T2 images."}),
    (
        "beyond the record",
        ONE,
        {
            "explanation": "The liver makes bile for digestion. Ancient Greeks thought that courage and anger lived within."
        },
    ),
    ("explains nothing", SEVERAL, {"explanation": "The liver stores sugar as glycogen between meals."}),
]


@pytest.mark.parametrize(
    "draft", [ONE, SEVERAL, POINT, BOXES, KIDNEY], ids=["one", "several", "point", "boxes", "kidney"]
)
def test_good_drafts_break_no_rule(draft: Draft, knowledge: dict[str, Knowledge]) -> None:
    assert broken_rules(draft, knowledge) == []


@pytest.mark.parametrize(("rule", "draft", "change"), FAULTS, ids=[f"{n}-{fault[0]}" for n, fault in enumerate(FAULTS)])
def test_a_fault_is_found_by_its_rule(rule: str, draft: Draft, change: dict, knowledge: dict[str, Knowledge]) -> None:
    assert rule in broken_rules(replace(draft, **change), knowledge)


def test_every_rule_has_a_fault() -> None:
    assert {rule for rule, _, _ in FAULTS} == set(RULES)


def test_an_entity_without_a_record(knowledge: dict[str, Knowledge]) -> None:
    assert broken_rules(replace(ONE, entities=("gizzard",)), knowledge) == [NO_KNOWLEDGE]
    assert broken_rules(replace(ONE, entities=()), knowledge) == [NO_KNOWLEDGE]


@pytest.mark.parametrize(
    ("entity", "given", "not_given"),
    [
        ("aorta", ["the aorta", "aortic arch"], ["a sort of tube"]),
        ("urinary bladder", ["the bladder", "gallbladder", "urinary tract"], ["a blade"]),
        ("left adrenal gland", ["adrenal", "suprarenal gland", "left side", "glands"], ["a gleaming"]),
        ("rib", ["a rib", "ribs"], ["described", "fibrous"]),
        ("optic disc", ["disc", "discs", "optic"], ["discrete", "optimal"]),
        ("esophagus", ["esophageal", "oesophagus"], ["phage"]),
        ("COVID-19 lesion", ["covid lung", "lesions"], ["coward"]),
    ],
)
def test_what_gives_an_entity_away(entity: str, given: list[str], not_given: list[str]) -> None:
    pattern = give_away(entity)
    assert all(pattern.search(text) for text in given)
    assert not any(pattern.search(text) for text in not_given)


def test_near_duplicates_are_the_later_ones() -> None:
    long = (
        "Which organ in this image makes bile for the digestion of fat and lies under the right dome of the diaphragm?"
    )
    questions = [
        long,
        "What can go wrong with the organ at <point>?",
        long.replace("image", "picture"),
        long.upper(),
        "What can go wrong with the organ inside <box>, and how is it treated?",
    ]
    assert near_duplicates(questions) == {2, 3}
    assert near_duplicates([]) == set()
