"""What a build leaves on disk: the same bytes after kills, whoever did the work; nothing but what can be gone on with."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from monai_mimo.errors import DataError, OutputError
from monai_mimo.mimoseg import SourceSpec, build, load_mimoseg
from monai_mimo.mimoseg.builder import case as build_case_module
from monai_mimo.mimoseg.builder import shards as assemble_module
from monai_mimo.mimoseg.builder.shards import PartialBuild

from ..small_source import contents, small_source

KILLS = 20
CASES = 12


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> SourceSpec:
    return SourceSpec("small", small_source(tmp_path_factory.mktemp("source") / "small"))


@pytest.fixture(scope="module")
def whole(source: SourceSpec, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of an uninterrupted build."""
    out = tmp_path_factory.mktemp("whole") / "out"
    build([source], out, progress=False)
    assert [p.name for p in out.parent.iterdir()] == ["out"]
    return contents(out)


def stage(out: Path) -> int:
    """How far a build is: the number of finished cases, one more while the set is put together, two more when it is there."""
    partial = PartialBuild(out)
    if out.exists():
        return CASES + 2
    if partial.new.exists():
        return CASES + 1
    return len(list(partial.path.glob("cases/*/*.json")))


def test_killed_at_any_moment_and_run_again_it_gives_the_same_bytes(
    source: SourceSpec, whole: dict[str, bytes], tmp_path: Path
) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["monai_mimo.mimoseg.builder.build"])
    random.seed(7)
    reached = []
    for kill in range(KILLS):
        out = tmp_path / str(kill) / "out"
        process = context.Process(target=build, args=([source], out), kwargs={"progress": False})
        process.start()
        moment = random.randint(0, CASES + 1)
        while process.is_alive() and stage(out) < moment:
            time.sleep(0.001)
        time.sleep(random.uniform(0, 0.01))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        reached.append(stage(out))
        if out.exists():  # never half of it
            assert contents(out) == whole
        if not out.exists() or PartialBuild(out).path.exists():
            build([source], out, progress=False)
        assert contents(out) == whole
        assert [p.name for p in out.parent.iterdir()] == ["out"]
    assert sum(0 < stage < CASES for stage in reached) >= 5, reached


def test_what_is_finished_is_not_built_again(source: SourceSpec, whole: dict, tmp_path: Path, monkeypatch) -> None:
    built = []
    read_case = build_case_module.read_case

    def stop_after(count: int):
        def read(case, slices):
            if len(built) == count:
                raise KeyboardInterrupt
            built.append(case.file)
            return read_case(case, slices)

        return read

    monkeypatch.setattr(build_case_module, "read_case", stop_after(7))
    with pytest.raises(KeyboardInterrupt):
        build([source], tmp_path / "out", progress=False)
    monkeypatch.setattr(build_case_module, "read_case", stop_after(-1))
    build([source], tmp_path / "out", progress=False)
    assert len(built) == len(set(built)) == CASES
    assert contents(tmp_path / "out") == whole


def interrupted(source: SourceSpec, out: Path, monkeypatch: pytest.MonkeyPatch, after: int = 5) -> PartialBuild:
    """A partial folder with `after` finished cases."""
    read_case, count = build_case_module.read_case, iter(range(after))

    def read(case, slices):
        if next(count, None) is None:
            raise KeyboardInterrupt
        return read_case(case, slices)

    with monkeypatch.context() as patch:
        patch.setattr(build_case_module, "read_case", read)
        with pytest.raises(KeyboardInterrupt):
            build([source], out, progress=False)
    return PartialBuild(out)


def test_other_arguments_are_told_from_the_same_ones(source: SourceSpec, tmp_path: Path, monkeypatch) -> None:
    partial = interrupted(source, tmp_path / "out", monkeypatch)
    with pytest.raises(OutputError, match=r"other seed, slices_per_volume.*same command.*removed"):
        build([source], tmp_path / "out", seed=1, slices_per_volume=2, progress=False)
    assert len(list(partial.path.glob("cases/*/*.arrow"))) == 5


def test_other_source_files_are_noticed(tmp_path: Path, monkeypatch) -> None:
    root = small_source(tmp_path / "small", pictures=8, volumes=0)
    interrupted(SourceSpec("small", root), tmp_path / "out", monkeypatch)
    for folder in ("images", "masks"):
        (root / folder / "p03_1.png").unlink()
    with pytest.raises(OutputError, match="other source files"):
        build([SourceSpec("small", root)], tmp_path / "out", progress=False)


def test_a_torn_shard_is_built_again(source: SourceSpec, whole: dict, tmp_path: Path, monkeypatch) -> None:
    partial = interrupted(source, tmp_path / "out", monkeypatch)
    shards = sorted(partial.path.glob("cases/*/*.arrow"))
    shards[0].write_bytes(shards[0].read_bytes()[:100])
    shards[1].with_suffix(".json").write_text('{"rows": [1')
    (shards[2].parent / "0000099.arrow.abc.tmp").write_bytes(b"left by a kill")
    build([source], tmp_path / "out", progress=False)
    assert contents(tmp_path / "out") == whole


def test_two_processes_do_not_build_the_same_set(source: SourceSpec, tmp_path: Path, monkeypatch) -> None:
    partial = interrupted(source, tmp_path / "out", monkeypatch)
    plan = json.loads((partial.path / "plan.json").read_text())
    with partial.opened(plan), pytest.raises(OutputError, match="another process"):
        build([source], tmp_path / "out", progress=False)


def test_a_foreign_folder_of_that_name_is_not_touched(source: SourceSpec, tmp_path: Path, monkeypatch) -> None:
    interrupted(source, tmp_path / "out", monkeypatch)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(OutputError, match="existing path"):
        build([source], tmp_path / "out", progress=False)
    assert contents(tmp_path / "out") == {"mine": b""}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 200 kB; skipped where it cannot be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "none", disk], capture_output=True).returncode:
        pytest.skip("cannot mount a file system here")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_disk_that_is_really_full(source: SourceSpec, whole: dict[str, bytes], small_disk: Path) -> None:
    with pytest.raises(OutputError) as error:
        build([source], small_disk / "out", progress=False)
    assert "No space left on device" in str(error.value)
    assert str(small_disk / ".out.partial") in str(error.value)
    assert [p.name for p in small_disk.iterdir()] == [".out.partial"]
    subprocess.run(["mount", "-o", "remount,size=50m", small_disk], check=True)
    build([source], small_disk / "out", progress=False)
    assert contents(small_disk / "out") == whole


@pytest.mark.parametrize("when", ["case", "assembly"])
def test_a_full_disk(source: SourceSpec, whole: dict, tmp_path: Path, monkeypatch, when: str) -> None:
    """The same without a file system to fill: writing fails from some file on."""
    module = build_case_module if when == "case" else assemble_module
    real, left = module.pa.OSFile, iter(range(4 if when == "case" else 1))

    def open_file(name: str, mode: str):
        if mode == "wb" and (".out.partial/cases" in name) == (when == "case") and next(left, None) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)
        return real(name, mode)

    with monkeypatch.context() as patch:
        patch.setattr(module.pa, "OSFile", open_file)
        with pytest.raises(OutputError, match=r"No space left on device.*\.out\.partial"):
            build([source], tmp_path / "out", progress=False)
    build([source], tmp_path / "out", progress=False)
    assert contents(tmp_path / "out") == whole


def test_a_place_that_cannot_be_written(source: SourceSpec, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="a place that can be written"):
        build([source], tmp_path / "file" / "out", progress=False)
    with pytest.raises(OutputError):
        build([source], Path("/proc/mimo/out"), progress=False)


def test_strict_leaves_nothing(tmp_path: Path) -> None:
    root = small_source(tmp_path / "small")
    (root / "images" / "p03_0.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"p03_0\.png"):
        build([SourceSpec("small", root)], tmp_path / "out", strict=True, progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ["small"]


def test_a_bad_case_does_not_stop_the_rest(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    root = small_source(tmp_path / "small")
    (root / "images" / "p03_0.png").write_bytes(b"no picture")
    volume = root / "masks" / "v02_0.nii.gz"
    volume.write_bytes(volume.read_bytes()[: volume.stat().st_size // 2])
    report = build([SourceSpec("small", root)], tmp_path / "out", progress=False)
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == len(report["failed"]) == 2
    for line, fault, name in zip(lines, report["failed"], ["p03_0.png", "v02_0.nii.gz"]):
        assert name in fault["file"]
        assert fault["found"] in line
        assert fault["expected"] in line
    [about] = report["sources"]
    assert (about["found"], about["cases"], about["failed"]) == (CASES, CASES - 2, 2)
    assert {
        row["file"] for split in ("train", "validation", "test") for row in load_mimoseg(tmp_path / "out", split)
    } == {f"images/{p.name}" for p in (root / "images").iterdir() if p.name not in ("p03_0.png", "v02_0.nii.gz")}


def test_a_source_of_bad_cases_is_refused_and_the_rest_is_kept(tmp_path: Path) -> None:
    good, bad = (SourceSpec(name, small_source(tmp_path / name, 6, 0)) for name in ("good", "bad"))
    for file in (bad.path / "images").iterdir():
        file.write_bytes(b"no picture")
    with pytest.raises(DataError, match="all 6 cases of bad fail"):
        build([good, bad], tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()
    small_source(tmp_path / "again", 6, 0)
    for file in (bad.path / "images").iterdir():
        file.write_bytes((tmp_path / "again" / "images" / file.name).read_bytes())
    report = build([good, bad], tmp_path / "out", progress=False)
    assert [s["cases"] for s in report["sources"]] == [6, 6]
