"""The state of a review: which rows are to be read, which changes are allowed, what was decided, and where to go on. The page
only shows it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from ...errors import DataError, InputError
from ..categories import MEASURED
from ..encoding import PHRASE
from ..load import load_mimoseg
from ..questions.drafts import Draft
from ..questions.knowledge import load_knowledge
from ..questions.templates import is_right, parse_value
from ..questions.validate import broken_rules
from .decisions import Choice, Decision, append, is_about, log_file, now, read_decisions

TAG = re.compile(r"</?[a-zA-Z]+>")
# Those of the rules for writers that a person keeps too: people may know what no record says, and choose other words.
RULES = {
    "gives away": "a question without a name of what is asked for, a synonym, or a word that reveals it",
    "modality": "no word that reveals how the image was made",
}


SHORTCUTS = {"k": "keep", "d": "drop", "e": "edit", "ArrowRight": "next", "ArrowLeft": "back"}


def check_edit(row: Mapping[str, Any], question: str, answer: str) -> None:
    """Check an edited question and answer of a row.

    Raises:
        InputError: a text is empty, the markers of prompts or the grounded phrases are not those of the row, a question
            that must not name its entities names one, or an answer that is measured gives another value.
    """
    for name, text in (("question", question), ("answer", answer)):
        if not text.strip():
            raise InputError(name, "an empty text", "a text; to take the row out, drop it")
    markers = re.findall("<point>|<box>", row["question"])
    if re.findall("<point>|<box>", question) != markers:
        raise InputError("question", "other markers", f"{' '.join(markers) or 'no <point> and no <box>'}, as before")
    phrases = [entity["phrase"] for entity in row["entities"]]
    if PHRASE.findall(answer) != phrases:
        expected = ", ".join(f"<p> {phrase} </p> <SEG>" for phrase in phrases)
        raise InputError("answer", "other grounded phrases", f"{expected or 'none'}, in this order")
    for name, rest in (("question", re.sub("<point>|<box>", "", question)), ("answer", PHRASE.sub("", answer))):
        if tag := TAG.search(rest):
            raise InputError(name, f"the tag {tag[0]}", "no tag besides those of the row")
    if row["perspective"] in (2, 3, 4):
        named = [p for p in phrases if re.search(rf"\b{re.escape(p)}\b", question, re.IGNORECASE)]
        if named:
            raise InputError("question", f"{named[0]!r} named", "a question that does not give its answer away")
    if row["perspective"] in (3, 4) and phrases:
        clue = "box" if "<box>" in markers else "point" if markers else ""
        draft = Draft(row["perspective"], tuple(phrases), clue, question, answer, "", "review")
        for rule in broken_rules(draft, load_knowledge()):
            if rule in RULES:
                raise InputError("question and answer", f"the rule {rule!r} broken", RULES[rule])
    if row["perspective"] == MEASURED:
        kind, value = row["value"]["kind"], row["value"]["answer"]
        if not is_right(kind, found := parse_value(kind, answer), value):
            raise InputError("answer", f"the value {found!r}", f"{value!r}, in words of the templates")


@dataclass(frozen=True)
class RowRef:
    """A row of the review: its split and number there, its id and texts as built."""

    split: str
    number: int
    id: str
    question: str
    answer: str


class ReviewQueue:
    """One person's review of some splits and perspectives of a built set.

    Args:
        folder: the built set.
        splits, perspectives: which rows are read, in the order of the set.
        reviewer: who decides.

    Raises:
        DataError: there is no such set, or it has no such rows.
        InputError: the name cannot be that of a file.
    """

    def __init__(self, folder: str | Path, splits: Sequence[str], perspectives: Sequence[int], reviewer: str) -> None:
        log_file(folder, reviewer)
        self.folder, self.reviewer = Path(folder), reviewer
        self.rows = {split: load_mimoseg(folder, split, reviewed=False) for split in splits}
        self.refs: list[RowRef] = []
        for split, rows in self.rows.items():
            columns = rows.select_columns(["perspective", "id", "question", "answer"]).with_format("arrow")[:]
            wanted = np.flatnonzero(np.isin(columns["perspective"].to_numpy(), list(perspectives)))
            for number, row in zip(wanted.tolist(), columns.take(wanted).to_pylist()):
                self.refs.append(RowRef(split, number, row["id"], row["question"], row["answer"]))
        if not self.refs:
            asked = f"no row of perspective {', '.join(map(str, perspectives))} in {', '.join(splits)}"
            raise DataError(folder, asked, "rows to review; see --perspective and --split")
        self._lock = Lock()
        self.refresh()

    def refresh(self) -> None:
        """Read what others have decided meanwhile."""
        decisions = read_decisions(self.folder)
        texts = {p.id: {"question": p.question, "answer": p.answer} for p in self.refs}
        self.decisions = {i: d for i, d in decisions.items() if i in texts and is_about(d, texts[i])}

    def row(self, position: int) -> dict[str, Any]:
        """The row at a position of the review, with its texts as they stand."""
        ref = self.refs[position]
        row = self.rows[ref.split][ref.number]
        decision = self.decisions.get(ref.id)
        if decision is not None:
            row |= {"question": decision.question, "answer": decision.answer}
        return row

    def decision(self, position: int) -> Decision | None:
        """What was decided last about the row."""
        return self.decisions.get(self.refs[position].id)

    def decide(self, position: int, choice: Choice, question: str | None = None, answer: str | None = None) -> None:
        """Record a decision; `edit` needs the new texts.

        Raises:
            InputError: the edit is not allowed. OutputError: it cannot be written.
        """
        ref, row = self.refs[position], self.row(position)
        if choice == "edit":
            question, answer = (question or "").strip(), (answer or "").strip()
            check_edit(row, question, answer)
            row |= {"question": question, "answer": answer}
        decision = Decision(
            id=ref.id,
            split=ref.split,
            decision=choice,
            question=row["question"],
            answer=row["answer"],
            built_question=ref.question,
            built_answer=ref.answer,
            reviewer=self.reviewer,
            time=now(),
        )
        with self._lock:
            append(self.folder, decision)
            self.decisions[ref.id] = decision

    def act(self, action: str, position: int) -> int:
        """Do what a key of `SHORTCUTS` means, and return the position to show. `edit` only opens the texts: it stays."""
        if action in ("keep", "drop"):
            self.decide(position, action)  # type: ignore[arg-type]
            return self.step(position, 1)
        return self.step(position, {"next": 1, "back": -1}.get(action, 0))

    def step(self, position: int, by: int) -> int:
        """The position before or after, within the review."""
        return min(max(position + by, 0), len(self.refs) - 1)

    def first_open(self, after: int = -1) -> int:
        """The first position behind `after`, or else the first of all, that nothing was decided about; or the last."""
        count = len(self.refs)
        order = [(after + 1 + offset) % count for offset in range(count)]
        return next((p for p in order if self.refs[p].id not in self.decisions), count - 1)

    def progress(self) -> Counter[str]:
        """How many rows were kept, dropped and edited, and how many are open."""
        counts: Counter[str] = Counter(keep=0, drop=0, edit=0)
        counts.update(d.decision for d in self.decisions.values())
        counts["open"] = len(self.refs) - len(self.decisions)
        return counts
