"""What the model is details, and what is made of its reply."""

from __future__ import annotations

import json
import re

import pytest

from monai_mimo.mimoseg.questions.drafts import Draft
from monai_mimo.mimoseg.questions.knowledge import Knowledge, load_knowledge, relations
from monai_mimo.mimoseg.questions.llm.messages import (
    Unusable,
    WritingTask,
    example_knowledge,
    example_reply,
    grounded_answer,
    messages,
    prompts,
    read_reply,
    read_triples,
)
from monai_mimo.mimoseg.questions.llm.requests import AnswerCache, Request, RequestPlan, request_key
from monai_mimo.mimoseg.questions.validate import broken_rules, near_duplicates

TASKS = [
    WritingTask(("spleen",), 3, "", 0, 0),
    WritingTask(("spleen", "liver"), 3, "", 0, 0),
    WritingTask(("spleen",), 4, "point", 0, 0),
    WritingTask(("spleen",), 4, "box", 0, 0),
    WritingTask(("spleen", "liver"), 4, "box", 0, 0),
]
KNOWLEDGE = {
    "spleen": Knowledge(kind="organ", facts={"function": ["filters the blood"]}, sources=["a", "b"]),
    "liver": Knowledge(
        kind="organ",
        facts={"anatomy": ["lies on the right"]},
        apart=["fills the right dome"],
        give_away=["hepat"],
        sources=["a", "b"],
    ),
    "aorta": Knowledge(kind="vessel", facts={"anatomy": ["leaves the heart"]}, sources=["a", "b"]),
}
TUMOR = "<p> kidney tumor </p> <SEG>."


def case(task: WritingTask) -> str:
    return f"{task.case} {task.clue}"


@pytest.mark.parametrize("task", TASKS, ids=case)
def test_rules_of_each_case(task: WritingTask) -> None:
    """What the paper's prompts demand, by words that status for each demand."""
    rules = " ".join(messages(task, KNOWLEDGE)[0]["content"].split())
    demands = [
        "nothing else that you may know", "5 triples", "never names an entity", "detailed, precise and discriminating",
        "professional", "function, anatomy, biochemistry, pathology, imaging appearance, diagnosis and treatment",
        "weaves all facts", "one JSON object", "nothing before or after",
    ]  # fmt: skip
    if task.perspective == 3 and len(task.entities) == 1:
        demands += ["one correct answer", "at least one fact almost in full", "tell the entity from its relatives"]
    if task.perspective == 3 and len(task.entities) > 1:
        demands += ["how the entities relate", "all of the entities, none left out"]
    if task.perspective == 4:
        demands += [
            "both the user who asks and the assistant who answers",
            "have not seen the image", "unclear without the marker", "it tells no fact",
            "no word for a modality", f"the marker <{task.clue}> exactly once",
        ]  # fmt: skip
        assert f"<{'box' if task.clue == 'point' else 'point'}>" not in rules
    else:
        assert "<" not in rules
    if task.perspective == 4 and len(task.entities) > 1:
        demands += ["involves all of the entities", "is refused", "One sentence of the question holds all markers"]
    assert [demand for demand in demands if demand not in rules] == []


@pytest.mark.parametrize("task", TASKS, ids=case)
def test_only_the_facts_of_the_entities_are_given(task: WritingTask) -> None:
    _, shown, replied, asked = messages(task, KNOWLEDGE, ["it was empty"])
    assert (shown["role"], replied["role"], asked["role"]) == ("user", "assistant", "user")
    for name in ("spleen", "liver", "aorta"):
        for facts in KNOWLEDGE[name].facts.values():
            assert (facts[0] in asked["content"]) == (name in task.entities)
    for words in ("starts with: hepat", "from its relatives: fills the right dome"):
        assert (words in asked["content"]) == ("liver" in task.entities)
    assert "Your reply number 1 could not be used: it was empty." in asked["content"]


def test_all_names_are_forbidden() -> None:
    text = messages(WritingTask(("kidney tumor",), 3, "", 0, 0), load_knowledge())[-1]["content"]
    forbidden = text[text.index("No question may hold") :].splitlines()[0]
    for name in ("kidney tumor", "renal tumor", "renal mass"):
        assert name in forbidden


def test_what_holds_for_all_together_is_told() -> None:
    relation = next(r for r in relations() if len(r.entities) == 2)
    together, alone = (
        messages(WritingTask(names, 3, "", 0, 0), load_knowledge())[-1]["content"]
        for names in (relation.entities, relation.entities[:1])
    )
    assert all(fact in together for fact in relation.facts)
    assert not any(fact in alone for fact in relation.facts)


@pytest.mark.parametrize("task", TASKS, ids=case)
def test_the_example_keeps_the_rules(task: WritingTask) -> None:
    """It is read as a reply would be, and its drafts pass the rules for all drafts."""
    entities = tuple(prompts()["examples"][task.case]["entities"])
    shown = WritingTask(entities, task.perspective, task.clue, 0, 0)
    answer = {"choices": [{"message": {"content": example_reply(shown)}, "finish_reason": "stop"}]}
    knowledge = example_knowledge()
    drafts = read_reply(answer, shown, knowledge, "llm:m")
    assert len(drafts) == 5
    assert near_duplicates([draft.question for draft in drafts]) == set()
    for draft in drafts:
        assert broken_rules(draft, knowledge) == []
        assert draft.question.count("<") == (len(entities) if task.perspective == 4 else 0)
        assert draft.question.count(f"<{task.clue}>") == draft.question.count("<")
        assert not re.search(r"corne|lens", draft.question, re.IGNORECASE)
        assert re.findall(r"<p> (.+?) </p> <SEG>", draft.answer) == list(entities)


def test_examples_occur_in_no_source_set() -> None:
    from monai_mimo.mimoseg.catalogue.vocabulary import standard_name

    assert [name for name in example_knowledge() if standard_name(name)] == []


@pytest.mark.parametrize(
    ("answer", "entities", "expected"),
    [
        ("It is the Left Kidney.", ["left kidney"], "It is the <p> left kidney </p> <SEG>."),
        ("The kidney and the kidney tumor.", ["kidney", "kidney tumor"], "The <p> kidney </p> <SEG> and the " + TUMOR),
        ("A kidney tumor, in the kidney.", ["kidney", "kidney tumor"], "A " + TUMOR[:-1] + ", in the <p> kidney </p> <SEG>."),
        ("The spleen, only the spleen.", ["spleen"], "The <p> spleen </p> <SEG>, only the spleen."),
        ("The liverwort.", ["liver"], "The liverwort."),
        ("L1 vertebra (L1 vertebra).", ["L1 vertebra"], "<p> L1 vertebra </p> <SEG> (L1 vertebra)."),
        ("COVID-19 lesion!", ["COVID-19 lesion"], "<p> COVID-19 lesion </p> <SEG>!"),
    ],
)  # fmt: skip
def test_grounded_answer(answer: str, entities: list[str], expected: str) -> None:
    assert grounded_answer(answer, entities) == expected


def test_tags_of_the_model_are_ours_to_set() -> None:
    triple = {"question": "What is\n at <box>?", "answer": "The <p> spleen </p> <SEG>.", "explanation": "It  filters."}
    answer = {"choices": [{"message": {"content": json.dumps([triple] * 5)}}]}
    draft = read_reply(answer, TASKS[3], KNOWLEDGE, "llm:m")[0]
    expected = Draft(
        4, ("spleen",), "box", "What is at <box>?", "The <p> spleen </p> <SEG>.", "It filters.", "llm:m", ("function",)
    )
    assert draft == expected


def test_what_models_without_structured_outputs_send() -> None:
    triples = [dict.fromkeys(("question", "answer", "explanation"), str(n)) for n in range(5)]
    for content in (
        json.dumps({"triples": triples}),
        json.dumps(triples),
        f"```json\n{json.dumps(triples)}\n```",
        f"  ```\n{json.dumps({'triples': triples}, indent=2)}```  ",
    ):
        assert read_triples(content) == triples
    for content in ("[" * 100_000, "null", "[1, 2, 3, 4, 5]", None, 5):
        with pytest.raises(Unusable):
            read_triples(content)


def test_keys_depend_on_all_that_is_sent_and_on_nothing_else() -> None:
    def key(task: WritingTask = TASKS[0], model: str = "m", faults: tuple[str, ...] = (), **parameters: object) -> str:
        request = RequestPlan(model, KNOWLEDGE, lambda draft: [], parameters=parameters).request(task, faults)
        assert request.key == request_key(request.body)
        return request.key

    assert key(a=1, b=2) == key(b=2, a=1)
    others = [key(t) for t in TASKS] + [key(WritingTask(("spleen",), 3, "", *p)) for p in ((1, 0), (0, 1))]
    others += [key(model="n"), key(a=1), key(a=2), key(faults=("x",)), key(faults=("x", "x"))]
    assert len(set(others)) == len(others)
    assert all(len(k) == 32 for k in others)  # a custom_id of the Batch API has at most 64


def test_a_damaged_answer_is_asked_for_again(tmp_path) -> None:
    cache = AnswerCache(tmp_path)
    plan = RequestPlan("m", KNOWLEDGE, lambda draft: [])
    request = plan.status(TASKS[0], cache)
    assert isinstance(request, Request)
    good = {"choices": [{"message": {"content": example_reply(TASKS[0])}, "finish_reason": "stop"}]}
    cache.put(request.key, request.body, good)
    assert cache.get(request.key) == good
    assert not isinstance(plan.status(TASKS[0], cache), Request)
    assert json.loads(cache.path(request.key).read_text())["request"] == request.body
    for damaged in ("", "{", "[]", '{"request": 1}', '{"answer": 3}'):
        cache.path(request.key).write_text(damaged)
        assert plan.status(TASKS[0], cache) == request
