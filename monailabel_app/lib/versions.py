"""Weights that were learned here: numbered folders, which of them is in use, and the way back."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from monai_mimo.engines.fine_tune import FineTuned
from monai_mimo.errors import InputError, MimoError, WeightsError
from monai_mimo.files import write_json
from monai_mimo.models.weights import fingerprint

from .model import ModelStore

logger = logging.getLogger(__name__)
BASE = "base"  # the name of the weights that the server was started with


@dataclass(frozen=True)
class Version:
    """One training run.

    Attributes:
        name: of its folder; parent: of the version that it started from.
        accepted: whether it beat its parent on the held-out labels.
        before, after: {"f1", "dice"} of the parent and of this one on them.
        images: how many were labelled; trained_on, held_out: how many questions about them.
        time: when it was finished, in seconds since 1970.
    """

    name: str
    parent: str
    accepted: bool
    before: dict[str, float]
    after: dict[str, float]
    images: int
    trained_on: int
    held_out: int
    time: float

    def summary(self) -> str:
        """In one sentence."""
        old, new = self.before, self.after
        verdict = "is used from now on" if self.accepted else "is kept, but not used"
        return (
            f"{self.name}: on {self.held_out} held-out questions F1 {old['f1']:.3f} -> {new['f1']:.3f}, "
            f"Dice {old['dice']:.3f} -> {new['dice']:.3f}; it {verdict}"
        )


class Versions:
    """The versions of one server, in FOLDER/HASH for the weights with that hash, so that others have versions of their own.

    The server and the process that trains share them by versions.json, which is atomic: the server loads a
    change with the next request (`sync`).

    Args:
        folder: is made when something is learned.
        models: the server's; the weights that it starts with are version "base".
    """

    def __init__(self, folder: Path, models: ModelStore) -> None:
        self._folder, self._models, self._base = folder, models, models.folder
        self._seen: tuple[int, int] | None = None
        self._hash: tuple[int, str] | None = None
        self._guard = threading.Lock()

    @property
    def root(self) -> Path:
        """Where the versions of the base weights are.

        Raises:
            WeightsError: there are no base weights.
        """
        try:
            changed = self._base.stat().st_mtime_ns
            if self._hash is None or self._hash[0] != changed:
                self._hash = changed, fingerprint(self._base)
        except OSError as error:
            raise WeightsError(self._base, "no weights", "weights that can be learned from") from error
        return self._folder / self._hash[1]

    def all(self) -> list[Version]:
        """Oldest first."""
        return self._read()[1]

    def active(self) -> str:
        """The name of the version in use."""
        return self._read()[0]

    def folder(self, name: str) -> Path:
        """Of a version."""
        return self._base if name == BASE else self.root / name

    def next_name(self) -> str:
        """Of a version that is to come."""
        taken = [int(p.name) for p in self.root.glob("[0-9]*") if p.name.isdigit()] if self.root.is_dir() else []
        return f"{max(taken, default=0) + 1:04d}"

    def add(self, parent: str, done: FineTuned, images: int) -> Version:
        """Enter a finished run; it becomes the one in use if it is better than its parent and that is still in use."""
        version = Version(
            done.folder.name,
            parent,
            done.better,
            asdict(done.before),
            asdict(done.after),
            images,
            done.trained_on,
            done.held_out,
            time.time(),
        )

        def enter(active: str, versions: list[Version]) -> tuple[str, list[Version]]:
            use = version.accepted and active == parent
            return version.name if use else active, [*versions, version]

        self._change(enter)
        return version

    def roll_back(self) -> str:
        """Use the parent of the version in use again, and return its name.

        Raises:
            InputError: the base weights are in use.
        """

        def back(active: str, versions: list[Version]) -> tuple[str, list[Version]]:
            parents = {v.name: v.parent for v in versions}
            if active not in parents:
                raise InputError("roll back", "the first weights in use", "a version that was learned here")
            return parents[active], versions

        return self._change(back)

    def sync(self) -> None:
        """Let the server answer with the version in use, if another process changed it. What fails is logged, and the server
        goes on with what it has."""
        with self._guard:
            try:
                state = self._state()
                if state is None or state == self._seen:
                    return
                self._seen = state
                folder = self.folder(self.active())
                if self._models.folder != folder:
                    self._models.swap(folder)
            except MimoError as error:
                logger.warning("could not load the other weights; the current ones stay in use: %s", error)

    def _state(self) -> tuple[int, int] | None:
        """Changes with versions.json; none while there is none."""
        try:
            status = (self.root / "versions.json").stat()
        except (OSError, WeightsError):
            return None
        return status.st_mtime_ns, status.st_ino

    def _read(self) -> tuple[str, list[Version]]:
        file = self.root / "versions.json"
        if not file.is_file():
            return BASE, []
        try:
            stored: dict[str, Any] = json.loads(file.read_text())
            return str(stored["active"]), [Version(**entry) for entry in stored["versions"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            found = f"{type(error).__name__}: {error}"
            raise WeightsError(file, found, '{"active": NAME, "versions": [...]}') from error

    def _change(self, change: Callable[[str, list[Version]], tuple[str, list[Version]]]) -> str:
        self.root.mkdir(parents=True, exist_ok=True)
        with FileLock(self.root / ".versions.lock"):
            active, versions = change(*self._read())
            write_json(self.root / "versions.json", {"active": active, "versions": [asdict(v) for v in versions]})
        return active
