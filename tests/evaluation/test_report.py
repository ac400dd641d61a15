"""What an evaluation leaves behind: whole, the same from several processes and after an interruption, and safe to open."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from datasets import Dataset

from monai_mimo.errors import DataError
from monai_mimo.evaluation import EvaluationReport, GroundingEvaluator, Results, evaluation_loader
from monai_mimo.evaluation.examples import best_median_worst, quality, segments
from monai_mimo.evaluation.run import evaluate
from monai_mimo.metrics import GroundingMetric, fit_temperature, reliability
from monai_mimo.mimoseg.encoding import decode_rle
from monai_mimo.models import Mimo
from monai_mimo.models.weights import save_weights

from .scripted import scripted_model, small_set

FILES = ("metrics.json", "metrics.md", "report.html", "predictions.jsonl", "calibration.csv")


@pytest.fixture(scope="module")
def model() -> Mimo:
    return scripted_model()


@pytest.fixture(scope="module")
def weights(model: Mimo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_weights(model, tmp_path_factory.mktemp("weights") / "nano")


def run(model: Mimo, weights: Path, rows: Dataset, out: Path, **options: Any) -> dict[str, Any]:
    return evaluate(model, weights, rows, out, images_per_batch=3, resamples=50, **options)


@pytest.fixture(scope="module")
def finished(model: Mimo, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """An evaluation in which one of seven images cannot be read."""
    out = tmp_path_factory.mktemp("finished")
    return out, run(model, weights, small_set(broken=3), out, temperature=2.0)


def files(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


def test_every_question_has_a_record_in_order(finished: tuple[Path, dict]) -> None:
    out, summary = finished
    rows = small_set(broken=3)
    records = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    assert [r["id"] for r in records] == rows["id"]
    assert [r["image_id"] for r in records if r["error"]] == ["3"] * 6
    assert [f["id"] for f in summary["failed"]] == [r["id"] for r in records if r["error"]]
    assert summary["questions"] == len(rows)
    assert not (out / ".partial").exists()


def test_the_table_is_that_of_the_metric(finished: tuple[Path, dict]) -> None:
    """What the records count is what `GroundingMetric` counts from masks."""
    from monai_mimo.metrics import Grounded, Reference

    out, summary = finished
    metric = GroundingMetric()
    for record in map(json.loads, (out / "predictions.jsonl").read_text().splitlines()):

        def grounded(entities: list[dict]) -> tuple[list[str], list[np.ndarray]]:
            return [e["phrase"] for e in entities], [decode_rle(e["mask"]) for e in entities]

        said = Grounded(*grounded(record["predicted_entities"]), failed=bool(record["error"]))
        place = record["perspective"], record["modality"], record["source"]
        metric.update(([said], [Reference(*grounded(record["entities"]), *place)]))
    table = metric.compute()
    for name, cell in table.items():
        assert {key: repr(summary[name][key]) for key in cell} == {key: repr(value) for key, value in cell.items()}
        if not np.isnan(cell["f1"]) and cell["iou"] > 0 and summary[name]["patients"] > 1:
            low, high = summary[name]["interval"]["iou"]
            assert 0 <= low <= high <= 1
    assert {"source a", "source b", "MR, perspective II"} <= table.keys()


def test_calibration_comes_from_the_table_beside_it(finished: tuple[Path, dict]) -> None:
    out, summary = finished
    with open(out / "calibration.csv", newline="") as file:
        phrases = list(csv.DictReader(file))
    scores = [float(p["score"]) for p in phrases]
    correct = [float(p["iou"]) > 0.5 for p in phrases]
    assert summary["calibration"]["phrases"] == len(phrases) > 0
    assert summary["calibration"]["ece"] == reliability(scores, correct).ece
    assert summary["calibration"]["fitted_temperature"] == fit_temperature(scores, correct)
    assert summary["calibration"]["scaled"]["temperature"] == 2.0


def test_vqa_by_source(finished: tuple[Path, dict]) -> None:
    out, summary = finished
    records = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    asked = [r for r in records if r["perspective"] == 0]
    right = [r["predicted_answer"].lower().startswith("yes") for r in asked]
    assert summary["vqa"]["overall"]["closed"] == len(asked) == 7
    assert summary["vqa"]["overall"]["closed_accuracy"] == pytest.approx(np.mean(right))
    assert summary["vqa"]["source a"]["samples"] + summary["vqa"]["source b"]["samples"] == 7


def test_json_is_strict(finished: tuple[Path, dict]) -> None:
    out, _ = finished

    def refuse(name: str) -> None:
        raise ValueError(name)

    metrics = json.loads((out / "metrics.json").read_text(), parse_constant=refuse)
    assert metrics["vqa"]["overall"]["open_recall"] is None


class Page(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_html_shows_pictures_and_needs_no_other_file(finished: tuple[Path, dict]) -> None:
    page = Page((finished[0] / "report.html").read_text())
    addresses = [attrs["src"] for tag, attrs in page.tags if tag == "img"]
    assert len(addresses) > 2 * 3
    assert all(address.startswith("data:image/") for address in addresses)
    assert not [tag for tag, attrs in page.tags if tag in ("script", "link", "iframe") or "href" in attrs]
    for word in ("best", "median", "worst", "Not answered (6)", "reference", "prediction", "It is the", "liver"):
        assert word in page.text
    assert {p.stem for p in (finished[0] / "panels").iterdir()} == {"CT", "MR"}


def test_html_escapes_what_comes_from_the_data(model: Mimo, weights: Path, tmp_path: Path) -> None:
    evil = '"><script>alert(1)</script><img src=x onerror=alert(1)>$\\frac{'

    def poison(row: dict) -> dict:
        changed = {"source": f"{row['source']}{evil}", "id": f"{row['id']}{evil}", "answer": f"{row['answer']} {evil}"}
        if row["perspective"] == 1:
            changed["question"] = f"Where is the liver? {evil}"
            changed["entities"] = [{**e, "phrase": f"liver{evil}"} for e in row["entities"]]
        return changed

    rows = small_set(images=4, broken=1).map(poison)
    run(model, weights, rows, tmp_path, about={f"weights{evil}": evil})
    page = Page((tmp_path / "report.html").read_text())
    assert not [tag for tag, attrs in page.tags if tag == "script" or any(name.startswith("on") for name in attrs)]
    assert all(attrs["src"].startswith("data:image/") for tag, attrs in page.tags if tag == "img")
    assert "<script>alert(1)</script>" in page.text
    assert "<script" not in (tmp_path / "metrics.md").read_text()


def test_best_median_and_worst_are_what_they_say(finished: tuple[Path, dict]) -> None:
    records = [json.loads(line) for line in (finished[0] / "predictions.jsonl").read_text().splitlines()]
    chosen = best_median_worst(records)
    assert set(chosen) == {"CT", "MR", "CT, VQA", "MR, VQA"}
    for name, picks in chosen.items():
        modality, _, vqa = name.partition(", ")
        group = [r for r in records if r["modality"] == modality and bool(vqa) == (r["perspective"] == 0)]
        values = sorted(value for r in group if (value := quality(r)) is not None)
        shown = {rank: quality(record) for rank, record in picks}
        assert shown["best"] == values[-1]
        assert shown.get("worst", values[0]) == values[0]
        if "median" in shown:
            assert shown["median"] == values[len(values) // 2]


def test_segments_make_up_the_text() -> None:
    text = "The liver and the spleen."
    parts = segments(text, [(4, 9), (18, 24)], [(1, 2, 3), (4, 5, 6)])
    assert "".join(part for part, _ in parts) == text
    assert [part for part, color in parts if color] == ["liver", "spleen"]


def test_an_interrupted_run_goes_on_and_ends_the_same(
    model: Mimo, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = small_set(broken=3)
    run(model, weights, rows, tmp_path / "whole")
    calls: list[int] = []
    answer = model.answer

    def counted(features: Any, questions: Any, *rest: Any) -> Any:
        calls.append(len(questions.input_ids))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return answer(features, questions, *rest)

    monkeypatch.setattr(model, "answer", counted)
    with pytest.raises(KeyboardInterrupt):
        run(model, weights, rows, tmp_path / "ended")
    assert not (tmp_path / "ended" / "metrics.json").exists()
    [part] = (tmp_path / "ended" / ".partial").iterdir()
    with open(part, "a") as file:
        file.write('{"row": 39, "half')  # killed while it wrote
    run(model, weights, rows, tmp_path / "ended")
    assert calls == [18, 12, 6, 6]
    assert files(tmp_path / "ended") == files(tmp_path / "whole")


def test_what_is_left_of_another_evaluation_is_not_used(tmp_path: Path) -> None:
    first = Results(tmp_path, {"weights": "a"})
    first.add([{"row": 4}])
    assert Results(tmp_path, {"weights": "b"}).done == set()
    assert Results(tmp_path, {"weights": "a"}).done == {4}


def test_nothing_answered_is_an_error_after_the_report(model: Mimo, weights: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none was answered"):
        run(model, weights, small_set(images=1, broken=0), tmp_path)
    assert len(json.loads((tmp_path / "metrics.json").read_text())["failed"]) == 6


def test_the_handler_needs_no_results_of_its_own(model: Mimo, tmp_path: Path) -> None:
    rows = small_set(images=2)
    Results(tmp_path, {}).add([{"row": 99}])  # what some other run has left
    report = EvaluationReport(tmp_path, resamples=0)
    GroundingEvaluator("cpu", evaluation_loader(model, rows, 2), model, rows, val_handlers=[report]).run()
    assert report.summary["overall"]["interval"] == {}
    assert report.summary["questions"] == len(rows)
    assert re.search(r"overall +\| +10", (tmp_path / "metrics.md").read_text())


def _process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    idist.initialize("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    several(scripted_model(), Path(folder), "two")
    idist.finalize()


def several(model: Mimo, folder: Path, name: str) -> None:
    """Three batches of which one image cannot be read; and a single batch, of which a second process has no share."""
    for images in (7, 2):
        run(model, folder / "weights", small_set(images, broken=1), folder / name / str(images))


def test_two_processes_give_what_one_gives_to_the_last_byte(model: Mimo, weights: Path, tmp_path: Path) -> None:
    save_weights(model, tmp_path / "weights")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        several(model, tmp_path, "one")
    finally:
        torch.set_num_threads(threads)
    mp.spawn(_process, (str(tmp_path),), nprocs=2)
    for images in ("7", "2"):
        assert files(tmp_path / "two" / images) == files(tmp_path / "one" / images)
