"""Decisions about rows: recorded, resumed, exported, used; and the page itself, in a browser where there is one."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from datasets import Dataset

from monai_mimo.cli import main
from monai_mimo.errors import DataError, InputError, MimoError
from monai_mimo.mimoseg import load_mimoseg
from monai_mimo.mimoseg.load import FEATURES
from monai_mimo.mimoseg.review.decisions import Decision, append, apply_decisions, read_decisions
from monai_mimo.mimoseg.review.gradio_page import row_html
from monai_mimo.mimoseg.review.queue import SHORTCUTS, ReviewQueue, check_edit

from ..hand_counted import measured_row, row, splits, write_set

SCRIPT = "<script>window.pwned = true</script><img src=x onerror='window.pwned = true'>"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_set(tmp_path / "set")


def session(folder: Path, reviewer: str = "Ada") -> ReviewQueue:
    return ReviewQueue(folder, ["train"], [3, 4], reviewer)


def test_keys_decide_and_move(folder: Path) -> None:
    s = session(folder)
    assert [p.id for p in s.refs] == ["a-0", "a-1", "b-0"]
    position = s.first_open()
    for key, after in (("k", 1), ("ArrowLeft", 0), ("ArrowRight", 1), ("e", 1), ("d", 2), ("ArrowRight", 2)):
        position = s.act(SHORTCUTS[key], position)
        assert position == after, key
    assert {i: d.decision for i, d in s.decisions.items()} == {"a-0": "keep", "a-1": "drop"}
    assert s.progress() == {"keep": 1, "drop": 1, "edit": 0, "open": 1}
    assert s.act("back", 0) == 0


def test_resumes_where_it_stopped(folder: Path) -> None:
    first = session(folder)
    first.act("keep", 0)
    again = session(folder)
    assert again.first_open() == 1
    again.act("drop", 2)
    assert again.first_open(after=1) == 1
    assert again.progress()["open"] == 1
    lines = [json.loads(line) for line in (folder / "review" / "Ada.jsonl").read_text().splitlines()]
    assert [(line["id"], line["decision"], line["reviewer"], line["split"]) for line in lines] == [
        ("a-0", "keep", "Ada", "train"),
        ("b-0", "drop", "Ada", "train"),
    ]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00", line["time"]) for line in lines)


def test_dropped_rows_go_and_edited_texts_stay(folder: Path) -> None:
    s = session(folder)
    s.act("drop", 0)
    s.decide(1, "edit", "<box> or <box>: what is it?", "The <p> kidney </p> <SEG>, the <p> kidney tumor </p> <SEG>.")
    s.act("keep", 2)
    rows, built = load_mimoseg(folder), load_mimoseg(folder, reviewed=False)
    assert rows["id"] == ["a-1", "b-0"]
    assert rows[0]["question"] == "<box> or <box>: what is it?"
    assert rows[0]["answer"].startswith("The <p> kidney")
    assert rows.features == built.features
    assert rows.column_names == built.column_names
    assert rows[1] == built[2]
    assert rows[0]["image"].tobytes() == built[1]["image"].tobytes()
    assert built["id"] == ["a-0", "a-1", "b-0"]
    assert load_mimoseg(folder, perspective=3)["id"] == ["b-0"]
    assert len(load_mimoseg(folder, "test")) == 2


def test_the_last_decision_counts_whoever_made_it(folder: Path) -> None:
    ada, bob = session(folder, "Ada"), session(folder, "Bob")
    ada.act("drop", 0)
    bob.act("keep", 0)
    assert "a-0" in load_mimoseg(folder)["id"]
    ada.act("drop", 0)
    assert "a-0" not in load_mimoseg(folder)["id"]
    bob.refresh()
    assert bob.decision(0) == ada.decision(0)
    ada.decide(2, "edit", "What is it?", "A <p> kidney tumor </p> <SEG>!")
    bob.refresh()
    assert bob.row(2)["question"] == "What is it?"  # what Bob sees, and keeps, is the edited text
    bob.act("keep", 2)
    assert load_mimoseg(folder)[-1]["question"] == "What is it?"
    assert sorted(p.name for p in (folder / "review").iterdir()) == ["Ada.jsonl", "Bob.jsonl"]


def test_a_decision_is_not_used_for_other_texts(folder: Path) -> None:
    s = session(folder)
    s.act("drop", 0)
    rows = splits()["train"]
    rows[0]["question"] = "Something else?"
    assert len(apply_decisions(Dataset.from_list(rows, features=FEATURES), folder)) == 3


def test_without_a_review_the_rows_are_the_same_object(folder: Path) -> None:
    rows = load_mimoseg(folder, reviewed=False)
    assert apply_decisions(rows, folder) is rows


def decision(**changes: str) -> Decision:
    base = Decision("a-0", "train", "keep", "q", "a", "q", "a", "Ada", "2026-01-01T00:00:00.000000+00:00")
    return replace(base, **changes)  # type: ignore[arg-type]


def test_a_line_cut_off_by_a_crash_is_lost_and_nothing_else(folder: Path) -> None:
    append(folder, decision())
    append(folder, decision(id="b-0"))
    log = folder / "review" / "Ada.jsonl"
    whole = log.read_bytes()
    for cut in range(1, len(whole) // 2):
        log.write_bytes(whole[:-cut])
        assert list(read_decisions(folder)) == ["a-0"]
        append(folder, decision(id="c-0"))
        assert list(read_decisions(folder)) == ["a-0", "c-0"]


def test_killed_while_it_writes(folder: Path) -> None:
    """A process that appends without end is killed: every decision that it had reported is there."""
    code = (
        "import sys; sys.path.insert(0, '.')\n"
        "from tests.mimoseg.review.test_review import append, decision\n"
        "for n in range(10**6):\n"
        f"    append({str(folder)!r}, decision(id=str(n))); print(n, flush=True)\n"
    )
    root = Path(__file__).parents[3]
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=root)
    assert process.stdout is not None
    reported = [process.stdout.readline() for _ in range(20)]
    os.kill(process.pid, signal.SIGKILL)
    reported += process.stdout.readlines()
    process.wait()
    found = read_decisions(folder)
    assert set(found) >= {line.strip() for line in reported if line.endswith("\n")}


def test_a_broken_line_is_named(folder: Path) -> None:
    append(folder, decision())
    with open(folder / "review" / "Ada.jsonl", "a") as file:
        file.write('{"id": 3}\n')
    with pytest.raises(DataError, match=r"Ada\.jsonl:2"):
        read_decisions(folder)


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".x", "x" * 65])
def test_names_that_are_no_file_names(folder: Path, name: str) -> None:
    with pytest.raises(InputError):
        session(folder, name)


POINTED = row(0, "a", "KiTS", "CT", 4, names=("kidney",), question="What does <point> filter?", points=[[9, 9, 1]])
GOOD = ("What does <point> clean?", "The <p> kidney </p> <SEG>.")


@pytest.mark.parametrize(
    ("question", "answer", "found"),
    [
        (" ", GOOD[1], "empty"),
        ("What does it clean?", GOOD[1], "markers"),
        ("What does <box> clean?", GOOD[1], "markers"),
        ("Does <point> show the Kidney?", GOOD[1], "named"),
        ("What does the renal artery bring to <point>, or to other kidneys?", GOOD[1], "gives away"),
        (GOOD[0], f"{GOOD[1]} On this CT it is bright.", "modality"),
        (GOOD[0], "The kidney.", "grounded"),
        (GOOD[0], "The <p> liver </p> <SEG>.", "grounded"),
        (GOOD[0], GOOD[1] + " <SEG>", "tag"),
        ("<p> What does <point> clean?", GOOD[1], "tag"),
        (GOOD[0], GOOD[1] + " <script>x</script>", "tag"),
    ],
)
def test_edits_that_are_refused(question: str, answer: str, found: str) -> None:
    with pytest.raises(InputError, match=found):
        check_edit(POINTED, question, answer)
    check_edit(POINTED, *GOOD)


MEASURED = measured_row(0, "a", "mine", "X-ray")


@pytest.mark.parametrize(
    ("answer", "fits"),
    [
        ("In the right half of the image you find the <p> lung </p> <SEG>.", True),
        ("In the left half of the image you find the <p> lung </p> <SEG>.", False),
        ("The <p> lung </p> <SEG> lies at the right.", False),  # no value that can be read
        ("The <p> lung </p> <SEG> lies in the right half of the image, not in the left half.", False),
    ],
)
def test_an_edit_keeps_the_measured_value(answer: str, fits: bool) -> None:
    question = "In which half of the image is the lung?"  # named, as it may be
    if fits:
        check_edit(MEASURED, question, answer)
    else:
        with pytest.raises(InputError, match="value"):
            check_edit(MEASURED, question, answer)


def test_measured_rows_are_shown_with_their_perspective(folder: Path) -> None:
    s = ReviewQueue(folder, ["validation"], [5], "Ada")
    assert [place.id for place in s.refs] == ["c-3"]
    assert "perspective V, measured" in row_html(s.row(0), None, 0, 1, s.progress(), "validation", {})


def test_a_refused_edit_leaves_no_trace(folder: Path) -> None:
    s = session(folder)
    with pytest.raises(InputError):
        s.decide(0, "edit", "Which kidney?", "It.")
    assert not (folder / "review").exists()
    assert s.decision(0) is None


def test_html_of_a_text_is_escaped(folder: Path) -> None:
    evil = row(0, "a", SCRIPT, SCRIPT, 4, names=("kidney",), question=f"{SCRIPT} <point>", points=[[9, 9, 1]])
    evil["entities"][0]["phrase"] = SCRIPT
    evil |= {"answer": f"{SCRIPT} <p> {SCRIPT} </p> <SEG> {SCRIPT}", "id": SCRIPT, "template": SCRIPT}
    rows = Dataset.from_list([evil], features=FEATURES)
    s = session(folder)
    by_name = decision(reviewer=SCRIPT)
    html = row_html(rows[0], by_name, 0, 1, s.progress(), "train", {})
    assert "<script" not in html
    assert "<img src=x" not in html
    # id, source, modality, template, reviewer, question, and in the answer the phrase and what is around it
    assert html.count("&lt;script&gt;") == 9
    assert '<span class="prompt">point</span>' in html


def test_knowledge_says_that_it_is_not_reviewed(folder: Path) -> None:
    from monai_mimo.mimoseg.questions.knowledge import Knowledge

    record = Knowledge(kind="organ", facts={"function": ["filters <the> blood"]}, sources=["A", "B"])
    s = session(folder)

    def html(known: Knowledge) -> str:
        return row_html(s.row(0), None, 0, 1, s.progress(), "train", {"kidney": known})

    assert "filters &lt;the&gt; blood" in html(record)
    assert "not reviewed" in html(record)
    assert "not reviewed" not in html(record.model_copy(update={"reviewed": True}))


def test_export(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    s = session(folder)
    s.act("drop", 2)
    s.act("keep", 0)
    assert main(["review", str(folder), "--export", str(tmp_path / "out.csv")]) == 0
    assert main(["review", str(folder), "--export", str(tmp_path / "out.json")]) == 0
    expected = [asdict(s.decisions[i]) for i in ("a-0", "b-0")]
    assert json.loads((tmp_path / "out.json").read_text()) == expected
    with open(tmp_path / "out.csv", newline="") as file:
        assert list(csv.DictReader(file)) == expected
    capsys.readouterr()
    assert main(["review", str(folder), "--export", str(tmp_path / "out.csv")]) == 2
    assert "existing file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--split", "dev"],
        ["--perspective", "6"],
        ["--export", "x.txt"],
        ["--split", "validation"],
        ["--reviewer", "a/b"],
    ],
)
def test_bad_options(folder: Path, arguments: list[str], capsys: pytest.CaptureFixture) -> None:
    if arguments[0] == "--export":
        append(folder, decision())
    assert main(["review", str(folder), *arguments]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_no_set_to_review(tmp_path: Path) -> None:
    with pytest.raises(MimoError):
        session(tmp_path)


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_page_in_a_browser(tmp_path: Path) -> None:
    """Real keys on the real page: no request leaves the machine, nothing in a text is executed, all of it is recorded."""
    gradio = pytest.importorskip("gradio")
    playwright = pytest.importorskip("playwright.sync_api")
    from monai_mimo.mimoseg.review.gradio_page import serve_review

    folder = tmp_path / "set"
    rows = splits()["train"]
    rows[0] |= {"question": f"Which organ? {SCRIPT}", "answer": f"<p> kidney </p> <SEG> {SCRIPT}"}
    Dataset.from_list(rows, features=FEATURES).save_to_disk(folder / "train")
    s = session(folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = serve_review(s, "127.0.0.1", port, block=False)
    requests: list[str] = []
    flags = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    try:
        with playwright.sync_playwright() as browsers:
            browser = browsers.chromium.launch(executable_path=CHROMIUM, args=flags)
            page = browser.new_page(viewport={"width": 1300, "height": 900})
            page.set_default_timeout(90_000)
            page.on("request", lambda request: requests.append(request.url))
            page.goto(address)

            def at(position: int) -> None:
                page.wait_for_selector(f"#row[data-position='{position}']")

            at(0)
            assert "<script>window.pwned" in page.inner_text("#row")
            page.keyboard.press("k")
            at(1)
            page.keyboard.press("ArrowLeft")
            at(0)
            page.wait_for_selector("#row .state:has-text('kept by Ada')")
            page.keyboard.press("ArrowRight")
            at(1)
            page.keyboard.press("e")
            page.wait_for_selector("#save", state="visible")
            page.fill("#question textarea", "no markers")
            page.keyboard.press("k")  # a letter, while a text is edited
            page.keyboard.press("Control+Enter")
            page.wait_for_function("document.querySelector('#problem textarea').value.includes('<box>')")
            page.fill("#question textarea", "What do <box> and <box> do?")
            page.keyboard.press("Control+Enter")
            at(2)
            page.wait_for_selector("#save", state="hidden")
            page.keyboard.press("d")
            page.wait_for_selector("#row .state:has-text('dropped by Ada')")
            assert page.evaluate("window.pwned === undefined")
            page.screenshot(path=str(tmp_path / "page.png"))
            browser.close()
    finally:
        gradio.close_all()
    outside = [url for url in requests if not url.startswith((address, "data:", "blob:"))]
    assert not outside
    assert (tmp_path / "page.png").stat().st_size > 10_000
    assert {i: d.decision for i, d in read_decisions(folder).items()} == {"a-0": "keep", "a-1": "edit", "b-0": "drop"}
    assert load_mimoseg(folder)["question"] == [rows[0]["question"], "What do <box> and <box> do?"]
