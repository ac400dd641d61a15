"""Drafts written and read back, and files that hold none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monai_mimo.errors import DataError, InputError, OutputError
from monai_mimo.mimoseg.questions.drafts import Draft, read_drafts, write_drafts

TEXT = st.text(st.characters(codec="utf-8"), max_size=30)
DRAFT = Draft(4, ("spleen",), "box", "What is in <box>?", "It is the <p> spleen </p> <SEG>.", "It filters.", "offline")


@given(
    st.lists(
        st.builds(
            Draft,
            perspective=st.just(4),
            entities=st.lists(TEXT, min_size=1, max_size=3).map(tuple),
            clue=st.sampled_from(["point", "box"]),
            question=TEXT,
            answer=TEXT,
            explanation=TEXT,
            writer=TEXT,
            aspects=st.lists(TEXT, max_size=3).map(tuple),
        ),
        max_size=4,
    )
)
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, drafts: list[Draft]) -> None:
    """Any text comes back, line separators of Unicode included."""
    file = tmp_path_factory.mktemp("drafts") / "drafts.jsonl"
    write_drafts(file, drafts)
    assert read_drafts(file) == drafts
    assert file.read_bytes().count(b"\n") == len(drafts)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("{", "line 2"),
        ("[]", "line 2"),
        ('{"perspective": 3}', "line 2"),
        ({"perspective": 1}, "perspective 1"),
        ({"clue": ""}, "clue ''"),
        ({"clue": "circle"}, "clue 'circle'"),
        ({"entities": []}, "entities []"),
        ({"entities": "spleen"}, "are lists"),
        ({"question": 3}, "not text"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_bad_line(tmp_path: Path, line: str | dict, found: str) -> None:
    file = tmp_path / "drafts.jsonl"
    write_drafts(file, [DRAFT])
    good = file.read_text()
    text = line if isinstance(line, str) else json.dumps({**json.loads(good), **line})
    file.write_text(good + text + "\n")
    with pytest.raises(DataError) as error:
        read_drafts(file)
    assert "line 2" in str(error.value)
    assert found in str(error.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.jsonl"):
        read_drafts(tmp_path / "none.jsonl")


def test_what_was_there_stays_when_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "drafts.jsonl"
    write_drafts(file, [DRAFT])

    def no_space(self: Path, *args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", no_space)
    with pytest.raises(OutputError, match="No space left"):
        write_drafts(file, [DRAFT, DRAFT])
    assert read_drafts(file) == [DRAFT]
    assert [f.name for f in tmp_path.iterdir()] == ["drafts.jsonl"]
