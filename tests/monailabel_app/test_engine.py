"""The caches and the priority lock, and the propagation of a mask through a volume, with a stand-in for the model."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from .conftest import APP, BrightSpot, StandInStore, infer

sys.path.insert(0, str(APP))

from lib.engine import CacheSizes, Engine, LRUCache, PriorityLock
from lib.model import ModelStore
from monai_mimo.mimoseg.catalogue.vocabulary import vocabulary
from monai_mimo.models.default_weights import SHIPPED


def test_lru_keeps_what_was_used_last() -> None:
    cache: LRUCache[bytes] = LRUCache(10, len)
    made: list[str] = []

    def get(key: str, size: int) -> bytes:
        return cache.get(key, lambda: made.append(key) or bytes(size))  # type: ignore[func-returns-value]

    for key in "abca":
        get(key, 4)
    assert made == ["a", "b", "c", "a"]  # a was pushed out by c
    assert cache.nbytes == 8
    get("c", 4)
    get("d", 4)
    assert "c" in cache
    assert "a" not in cache
    get("large", 11)
    assert "large" not in cache  # given, but not kept, and nothing else lost for it
    assert "c" in cache
    assert cache.nbytes == 8
    cache.drop(lambda key: key == "c")
    assert (len(cache), cache.nbytes) == (1, 4)


def test_lru_makes_once_for_all_who_wait() -> None:
    cache: LRUCache[bytes] = LRUCache(100, len)
    made: list[int] = []
    go = threading.Event()

    def make() -> bytes:
        go.wait(5)
        made.append(1)
        return b"x"

    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(cache.get, "k", make) for _ in range(8)]
        go.set()
        assert [f.result() for f in futures] == [b"x"] * 8
    assert made == [1]


def test_lru_forgets_what_failed() -> None:
    cache: LRUCache[bytes] = LRUCache(100, len)

    def fail() -> bytes:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        cache.get("k", fail)
    assert cache.get("k", lambda: b"x") == b"x"


def test_long_work_lets_others_in_between() -> None:
    lock, order, inside = PriorityLock(), [], threading.Event()

    def long() -> None:
        with lock.hold():
            order.append("long")
            inside.set()
            while lock._waiting == 0:
                time.sleep(0.001)
            lock.let_others()
            order.append("long again")

    def short() -> None:
        inside.wait(5)
        with lock.hold():
            order.append("short")

    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(long), pool.submit(short)]:
            future.result(10)
    assert order == ["long", "short", "long again"]
    with lock.hold():
        lock.let_others()  # nobody waits


def test_who_waits_in_person_goes_first() -> None:
    """Of those that wait while one computes, all in the foreground go before the background."""
    lock = PriorityLock()
    order: list[str] = []
    started, release = threading.Event(), threading.Event()

    def first() -> None:
        with lock.hold():
            started.set()
            release.wait(5)

    def later(name: str, background: bool) -> None:
        with lock.hold(background):
            order.append(name)

    threads = [threading.Thread(target=first)]
    threads[0].start()
    started.wait(5)
    for name in ("background", "one", "two"):
        threads.append(threading.Thread(target=later, args=(name, name == "background")))
        threads[-1].start()
    deadline = time.monotonic() + 5
    while lock._waiting < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    release.set()
    for thread in threads:
        thread.join(5)
    assert sorted(order[:2]) == ["one", "two"]
    assert order[2] == "background"


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    path = tmp_path / "volume.nii.gz"
    values = np.random.default_rng(0).integers(-900, -400, (16, 16, 12)).astype(np.int16)
    nib.save(nib.Nifti1Image(values, np.diag([1, 1, 4, 1])), path)
    return path


def ask(engine: Engine, path: Path, number: int) -> None:
    engine.ask(engine.models.current(), engine.open(path), number, [("What?", [], [])])


def test_a_slice_is_encoded_once_and_its_neighbours_beforehand(volume: Path) -> None:
    model = BrightSpot()
    engine = Engine(StandInStore(model), CacheSizes(neighbours=2))  # type: ignore[arg-type]
    for _ in range(5):
        ask(engine, volume, 6)
    deadline = time.monotonic() + 10
    while len(model.encoded) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    engine.close()
    assert model.encoded[0] == 6
    assert sorted(model.encoded) == [4, 5, 6, 7, 8]  # type: ignore[type-var]


def test_other_weights_or_another_file_are_not_mixed_up(volume: Path) -> None:
    model = BrightSpot()
    store = StandInStore(model)
    engine = Engine(store, CacheSizes(neighbours=0))  # type: ignore[arg-type]
    ask(engine, volume, 3)
    from dataclasses import replace

    store.model = replace(store.model, hash="1" * 12)
    ask(engine, volume, 3)
    assert model.encoded == [3, 3]
    time.sleep(0.02)
    nib.save(nib.Nifti1Image(np.zeros((16, 16, 12), dtype=np.int16), np.eye(4)), volume)
    ask(engine, volume, 3)
    assert model.encoded == [3, 3, 3]


def test_memory_is_bounded(volume: Path) -> None:
    size = 16 * 16 * 3
    engine = Engine(StandInStore(BrightSpot()), CacheSizes(features=3 * size, neighbours=0))  # type: ignore[arg-type]
    for number in range(12):
        ask(engine, volume, number)
        assert engine.features.nbytes <= 3 * size
    assert len(engine.features) == 3


def test_many_threads(volume: Path) -> None:
    model = BrightSpot()
    engine = Engine(StandInStore(model), CacheSizes(neighbours=1))  # type: ignore[arg-type]
    with ThreadPoolExecutor(6) as pool:
        for future in [pool.submit(ask, engine, volume, n % 12) for n in range(120)]:
            future.result(30)
    engine.close()
    assert sorted(model.encoded) == list(range(12))  # type: ignore[type-var]


def blob_volume(path: Path, radii: list[float], jump: int | None = None) -> np.ndarray:
    """Discs of these radii on the slices, none for 0; from slice `jump` on somewhere else. Returns them."""
    y, x = np.mgrid[:40, :48]
    disc = np.stack(
        [(x - (12 if jump is None or k < jump else 36)) ** 2 + (y - 20) ** 2 < r**2 for k, r in enumerate(radii)],
        axis=-1,
    ).transpose(1, 0, 2)
    values = np.where(disc, 1000, -500).astype(np.int16)
    nib.save(nib.Nifti1Image(values, np.diag([-1, -1, 4, 1])), path)
    return disc


def test_volume_by_prompts_on_any_slice(start: Callable[..., Any], tmp_path: Path) -> None:
    studies = tmp_path / "studies"
    studies.mkdir()
    disc = blob_volume(studies / "case.nii.gz", [0, 0, 4, 6, 7, 6, 4, 0, 0])
    client = start(studies, BrightSpot())
    for prompt in (
        {"foreground": [[12, 20, 4], [12, 20, 5]]},
        {"bbox": [10, 18, 3, 14, 22, 6]},
        {"foreground_scribble": [[12, 20, 2], [12, 20, 3]], "background": [[0, 0, 0]]},
    ):
        said, data = infer(client, "mimo_volume", "case", "all", **prompt)
        (tmp_path / "reply.nii.gz").write_bytes(data)
        assert np.array_equal(np.asarray(nib.load(tmp_path / "reply.nii.gz").dataobj) == 1, disc)
        assert said["entities"][0]["slices"] == [2, 6]
    assert infer(client, "mimo_volume", "case", foreground=[[0, 0, 0]])["entities"] == []


def test_a_question_without_a_slice_is_about_the_volume(start: Callable[..., Any], tmp_path: Path) -> None:
    studies = tmp_path / "studies"
    studies.mkdir()
    disc = blob_volume(studies / "case.nii.gz", [0, 3, 4, 5, 0])
    client = start(studies, BrightSpot())
    said = infer(client, "mimo_ask", "case", question="What is bright?")
    assert said["warnings"] == []
    assert said["entities"][0]["voxels"] == disc.sum()
    said = infer(client, "mimo_ask", "case", question="What is bright?", slice=3)
    assert said["entities"][0]["voxels"] == disc[..., 3].sum()


def test_features_of_the_last_volumes_are_kept(start: Callable[..., Any], tmp_path: Path) -> None:
    studies = tmp_path / "studies"
    studies.mkdir()
    for name in "abc":
        blob_volume(studies / f"{name}.nii.gz", [3, 3])
    app = start(studies, BrightSpot()).mimo
    opened = {n: app.engine.open(studies / f"{n}.nii.gz") for n in "abc"}
    volumes = {n: app.engine.volume(app.models.current(), opened[n]) for n in "abac"}
    assert [volumes[n].forgotten for n in "abc"] == [False, True, False]
    assert app.engine.volume(app.models.current(), opened["a"]) is volumes["a"]


def test_segment_names(start: Callable[..., Any], tmp_path: Path) -> None:
    """All slices without a slice, one with it; a name that is not found is said."""
    studies = tmp_path / "studies"
    studies.mkdir()
    disc = blob_volume(studies / "case.nii.gz", [0, 3, 4, 5, 0])
    client = start(studies, BrightSpot())
    said, data = infer(client, "mimo_segment", "case", "all", label=["liver", "spleen"])
    assert said["answer"] == "Here is the liver. I found no spleen in this volume."
    assert said["label_names"] == {"liver": 1}
    (tmp_path / "reply.nii.gz").write_bytes(data)
    assert np.array_equal(np.asarray(nib.load(tmp_path / "reply.nii.gz").dataobj) == 1, disc)
    [entity] = infer(client, "mimo_segment", "case", label="liver", slice=3)["entities"]
    assert entity["voxels"] == disc[..., 3].sum()
    assert said["answer"][slice(*said["entities"][0]["span"])] == "liver"


def test_shipped_weights_warn_of_images_unlike_theirs() -> None:
    predictor = ModelStore(SHIPPED / "lite", device="cpu").current().predictor
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    predictor.set_image(noise)
    assert any("unlike" in warning for warning in predictor.ask("What is this?").warnings)


def test_viewers_are_offered_the_names_that_the_weights_know() -> None:
    model = ModelStore(SHIPPED / "lite", device="cpu").current()
    assert model.labels == tuple(model.predictor.model.config.names)
    assert "kidney stone" in model.labels
    assert "brain tumor" in vocabulary().keys() - set(model.labels)  # a name that the guard of these weights refuses
    assert ModelStore(SHIPPED / "lite", ["liver"], "cpu").current().labels == ("liver",)
