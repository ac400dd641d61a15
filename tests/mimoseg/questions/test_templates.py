"""Templates are many, differ, and read as English."""

from __future__ import annotations

from monai_mimo.mimoseg.questions.templates import grounded, listed, templates


def test_there_are_enough_templates_and_they_differ() -> None:
    one = templates()["instruction"]
    assert len(set(one["questions"])) >= 9
    assert len(set(one["answers_one"])) >= 6
    assert len(set(one["answers_several"])) >= 6
    for kind in ("box", "point"):
        section = templates()["visual_clue"][kind]
        assert len(set(section["questions"])) >= 8
        assert len(set(section["answers"])) >= 6
        assert all(q.count(f"<{kind}>") == 1 and "{" not in q for q in section["questions"])
        assert all(a.count("{entities}") == 1 for a in section["answers"])


def test_lists_read_as_english() -> None:
    assert listed(["a"]) == "the a"
    assert listed(["a", "b"]) == "the a and the b"
    assert listed(["a", "b", "c"]) == "the a, the b and the c"
    assert grounded(["a"]) == "the <p> a </p> <SEG>"
