import hashlib
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from monai_mimo import files
from monai_mimo.errors import OutputError
from monai_mimo.files import (
    atomic_file,
    atomic_folder,
    copy_file,
    digest,
    file_digest,
    output_errors,
    remove_leftovers,
    write_json,
    write_text,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("sync", [False, True])
def test_a_file_is_replaced_when_the_block_ends(tmp_path: Path, sync: bool) -> None:
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(b"old")
    with atomic_file(path, sync=sync) as new:
        assert new.name == path.name  # libraries choose a format by it
        new.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["scan.nii.gz"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_block_that_fails_leaves_the_old_file(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"old")

    def write() -> None:
        with atomic_file(path) as new:
            new.write_bytes(b"half")
            raise error

    with pytest.raises(error):
        write()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.json"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_process_killed_while_it_writes_leaves_what_was_there(tmp_path: Path, kind: str) -> None:
    old = tmp_path / "a" if kind == "file" else tmp_path / "a" / "part"
    old.parent.mkdir(exist_ok=True)
    old.write_text("old")
    script = f"""
import os, signal
from monai_mimo.files import atomic_file, atomic_folder
with {"atomic_file" if kind == "file" else "atomic_folder"}({str(tmp_path / "a")!r}) as new:
    (new{" / 'part'" if kind == "folder" else ""}).write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", script]).returncode == -signal.SIGKILL
    assert old.read_text() == "old"
    assert len(names(tmp_path)) == 2  # a hidden folder is left
    remove_leftovers(tmp_path)
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_new_file_has_the_permissions_of_any_other(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        with atomic_file(tmp_path / "a") as new:
            new.write_text("a")
            new.chmod(0o700)  # as libraries that write to a private file of their own
        (tmp_path / "plain").write_text("a")
        with atomic_folder(tmp_path / "folder"):
            pass
        (tmp_path / "plain folder").mkdir()
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == mode
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert (tmp_path / "folder").stat().st_mode == (tmp_path / "plain folder").stat().st_mode


def test_a_folder_appears_complete(tmp_path: Path) -> None:
    out = tmp_path / "missing" / "out"
    with atomic_folder(out) as new:
        (new / "part").write_text("1")
        assert not out.exists()
    assert (out / "part").read_text() == "1"
    assert names(out.parent) == ["out"]


def test_a_folder_is_replaced_only_on_request(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with atomic_folder(out) as new:  # an empty one holds nothing to lose
        (new / "old").write_text("")
    with pytest.raises(OSError, match="not empty"), atomic_folder(out) as new:
        (new / "new").write_text("")
    assert names(out) == ["old"]
    with atomic_folder(out, replace=True) as new:
        (new / "new").write_text("")
    assert names(out) == ["new"]
    assert names(tmp_path) == ["out"]


def test_a_folder_whose_replacement_fails_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    with atomic_folder(out) as new:
        (new / "old").write_text("")
    rename = os.rename

    def fails_for_the_new_one(source: Path, target: Path) -> None:
        if (Path(source) / "new").exists():
            raise OSError(28, "No space left on device")
        rename(source, target)

    monkeypatch.setattr(files.os, "rename", fails_for_the_new_one)
    with pytest.raises(OSError, match="No space"), atomic_folder(out, replace=True) as new:
        (new / "new").write_text("")
    assert names(out) == ["old"]
    assert names(tmp_path) == ["out"]


def test_an_error_of_the_disk_names_the_output(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "out.json"
    with pytest.raises(OutputError, match=r"file/out\.json: found .*; expected a place that can be written"):
        write_text(path, "")
    with pytest.raises(ValueError, match="other"), output_errors(path):
        raise ValueError("other errors pass")


def test_texts_are_written_as_they_are(tmp_path: Path) -> None:
    write_text(tmp_path / "new" / "a.txt", "é\r\nb\n")
    assert (tmp_path / "new" / "a.txt").read_bytes() == "é\r\nb\n".encode()
    write_json(tmp_path / "a.json", {"a": [1]})
    assert (tmp_path / "a.json").read_text() == '{\n "a": [\n  1\n ]\n}\n'
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"a": object()})
    assert (tmp_path / "a.json").read_text() == '{\n "a": [\n  1\n ]\n}\n'


def test_a_copy_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    copy_file(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_text() == "a"
    with pytest.raises(FileNotFoundError):
        copy_file(tmp_path / "missing", tmp_path / "b")
    assert (tmp_path / "b").read_text() == "a"
    assert names(tmp_path) == ["a", "b"]


def test_digests_are_those_of_hashlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "BLOCK", 3)
    (tmp_path / "a").write_bytes(b"12345678")
    (tmp_path / "b").write_bytes(b"9")
    assert digest("1234", b"56789") == hashlib.sha256(b"123456789").hexdigest()
    assert digest("é") == hashlib.sha256("é".encode()).hexdigest()
    assert file_digest(tmp_path / "a", tmp_path / "b") == hashlib.sha256(b"123456789").hexdigest()
    short = partial(hashlib.blake2b, digest_size=8)
    assert file_digest(tmp_path / "a", algorithm=short) == hashlib.blake2b(b"12345678", digest_size=8).hexdigest()
