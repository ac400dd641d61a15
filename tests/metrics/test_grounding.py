"""The grounding table against a brute-force version, and across processes."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from monai_mimo.metrics import Grounded, GroundingMetric, Reference

NAMES = ["liver", "the Liver", "spleen", "left kidney"]


def random_samples(count: int, seed: int) -> tuple[list[Grounded], list[Reference]]:
    """Answers that resemble their references: phrases dropped, added, doubled and renamed, masks moved."""
    rng = np.random.default_rng(seed)

    def blob() -> np.ndarray:
        mask = np.zeros((12, 12), dtype=bool)
        y, x = rng.integers(0, 6, size=2)
        mask[y : y + rng.integers(1, 7), x : x + rng.integers(1, 7)] = True
        return mask

    predictions, references = [], []
    for _ in range(count):
        names = [NAMES[i] for i in rng.integers(0, len(NAMES), size=rng.integers(0, 4))]
        masks = [blob() for _ in names]
        reference = Reference(names, masks, int(rng.integers(1, 3)), ["CT", "MR"][rng.integers(2)])
        said = [(n, np.roll(m, int(rng.integers(0, 3)), 1)) for n, m in zip(names, masks) if rng.random() < 0.8]
        said += [(NAMES[rng.integers(len(NAMES))], blob()) for _ in range(rng.integers(0, 2))]
        order = rng.permutation(len(said))
        predictions.append(Grounded([said[i][0] for i in order], [said[i][1] for i in order]))
        references.append(reference)
    return predictions, references


def brute_force(predictions: list[Grounded], references: list[Reference]) -> dict[str, float]:
    """Every way to pair phrases is tried; nothing of the package is used."""

    def same(a: str, b: str) -> bool:
        return a.lower().removeprefix("the ") == b.lower().removeprefix("the ")

    def best(p: Grounded, r: Grounded, least: float) -> list[tuple[float, float]]:
        found: list[tuple[float, float]] = []
        short, long = sorted([range(len(p.phrases)), range(len(r.phrases))], key=len)
        swapped = short is not long and len(p.phrases) > len(r.phrases)
        for chosen in itertools.permutations(long, len(short)):
            pairs = []
            for a, b in zip(short, chosen):
                i, j = (b, a) if swapped else (a, b)
                x, y = p.masks[i], r.masks[j]
                iou = (x & y).sum() / (x | y).sum()
                if same(p.phrases[i], r.phrases[j]) and iou > least:
                    pairs.append((iou, 2 * (x & y).sum() / (x.sum() + y.sum())))
            if (len(pairs), sum(i for i, _ in pairs)) > (len(found), sum(i for i, _ in found)):
                found = pairs
        return found

    said = sum(len(p.phrases) for p in predictions)
    expected = sum(len(r.phrases) for r in references)
    correct = sum(len(best(p, r, 0.5)) for p, r in zip(predictions, references))
    paired = [pair for p, r in zip(predictions, references) for pair in best(p, r, -1)]
    return {
        "precision": correct / said,
        "recall": correct / expected,
        "f1": 2 / (said / correct + expected / correct),
        "iou": float(np.mean([i for i, _ in paired])),
        "dice": float(np.mean([d for _, d in paired])),
        "dice_all": sum(d for _, d in paired) / expected,
    }


@pytest.mark.parametrize("seed", range(4))
def test_equals_brute_force(seed: int) -> None:
    predictions, references = random_samples(60, seed)
    metric = GroundingMetric()
    metric.update((predictions[:25], references[:25]))
    metric.update((predictions[25:], references[25:]))
    table = metric.compute()
    cells = {
        "overall": lambda r: True,
        "CT": lambda r: r.modality == "CT",
        "perspective II": lambda r: r.perspective == 2,
        "MR, perspective I": lambda r: (r.modality, r.perspective) == ("MR", 1),
    }
    for name, inside in cells.items():
        chosen = [(p, r) for p, r in zip(predictions, references) if inside(r)]
        expected = brute_force([p for p, _ in chosen], [r for _, r in chosen])
        assert table[name]["samples"] == len(chosen)
        for key, value in expected.items():
            assert table[name][key] == pytest.approx(value), (name, key)


def one(predicted: list[str], expected: list[str]) -> dict[str, float]:
    """The table's sum for one sample whose masks are all the same."""
    mask = np.ones((4, 4), dtype=bool)
    metric = GroundingMetric()
    metric.update(([Grounded(predicted, [mask] * len(predicted))], [Reference(expected, [mask] * len(expected))]))
    return metric.compute()["overall"]


def test_nothing_said_and_nothing_expected() -> None:
    result = one([], [])
    assert (result["precision"], result["recall"], result["f1"]) == (1, 1, 1)
    assert result["refusal_accuracy"] == result["phrase_accuracy"] == 1
    assert math.isnan(result["dice"])


@pytest.mark.parametrize(("predicted", "expected"), [(["liver"], []), ([], ["liver"])])
def test_one_side_empty(predicted: list[str], expected: list[str]) -> None:
    result = one(predicted, expected)
    assert (result["precision"], result["recall"], result["f1"], result["phrase_accuracy"]) == (0, 0, 0, 0)


def test_a_phrase_said_twice_counts_once() -> None:
    result = one(["liver", "liver"], ["liver"])
    assert (result["precision"], result["recall"]) == (0.5, 1)
    assert result["phrase_accuracy"] == 0


def test_iou_of_exactly_one_half_is_not_enough() -> None:
    whole, half = np.ones((4, 4), dtype=bool), np.zeros((4, 4), dtype=bool)
    half[:2] = True
    metric = GroundingMetric()
    metric.update(([Grounded(["liver"], [half])], [Reference(["liver"], [whole])]))
    result = metric.compute()["overall"]
    assert result["f1"] == 0
    assert result["iou"] == 0.5


def _process(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    predictions, references = random_samples(41, 9)
    metric = GroundingMetric()
    metric.update((predictions[rank::2], references[rank::2]))
    result = metric.compute()
    torch.save(result, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_give_what_one_gives(tmp_path) -> None:
    mp.spawn(_process, (str(tmp_path),), nprocs=2)
    predictions, references = random_samples(41, 9)
    metric = GroundingMetric()
    metric.update((predictions, references))
    alone = metric.compute()
    for rank in range(2):
        shared = torch.load(tmp_path / f"{rank}.pt", weights_only=False)
        assert shared.keys() == alone.keys()
        for name, cell in alone.items():
            assert {k: repr(v) for k, v in shared[name].items()} == {k: repr(v) for k, v in cell.items()}, name


def test_a_question_that_could_not_be_answered_is_never_right() -> None:
    mask = np.ones((4, 4), dtype=bool)
    metric = GroundingMetric()
    predictions = [Grounded([], [], failed=True), Grounded([], [], failed=True), Grounded(["liver"], [mask])]
    metric.update((predictions, [Reference([], []), Reference(["liver"], [mask]), Reference(["liver"], [mask])]))
    result = metric.compute()["overall"]
    assert (result["samples"], result["refusal_accuracy"]) == (3, 0)
    assert (result["precision"], result["recall"]) == (1, 0.5)
    assert result["phrase_accuracy"] == pytest.approx(1 / 3)


def test_cells_by_source_and_of_modalities_of_ones_own() -> None:
    mask = np.ones((4, 4), dtype=bool)
    places = [(1, "CT", "KiTS"), (2, "OCT", "mine"), (1, "CT", "mine")]
    metric = GroundingMetric()
    metric.update(
        (
            [Grounded(["liver"], [mask]), Grounded([], []), Grounded(["liver"], [mask])],
            [Reference(["liver"], [mask], *place) for place in places],
        )
    )
    table = metric.compute()
    assert list(table) == [
        "overall", "perspective I", "perspective II", "CT", "CT, perspective I", "OCT", "OCT, perspective II",
        "source KiTS", "source mine",
    ]  # fmt: skip
    assert [table[name]["recall"] for name in ("source KiTS", "source mine", "OCT")] == [1, 0.5, 0]
