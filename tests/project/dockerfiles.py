"""What a Dockerfile does, done in a folder: COPY and RUN of its stages, with the image's paths below that folder."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from dockerfile_parse import DockerfileParser

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "docker" / "Dockerfile"
PATHS = ("/src", "/opt/mimo", "/data", "/secrets")  # of the image


@dataclass
class Stage:
    """One stage of a Dockerfile: its image and its steps, (instruction, value)."""

    image: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def values(self, instruction: str) -> list[str]:
        """What follows one instruction, in order."""
        return [value for name, value in self.steps if name == instruction]

    def environment(self) -> dict[str, str]:
        """NAME to value, as it is written."""
        return dict(pair.split("=", 1) for value in self.values("ENV") for pair in shlex.split(value))

    def commands(self) -> list[list[str]]:
        """The words of each command of each RUN."""
        return [
            shlex.split(command) for value in self.values("RUN") for command in re.split(r"&&|\|\|", value) if command
        ]

    def copied(self) -> list[list[str]]:
        """Sources and destination of each COPY from the repository."""
        return [value.split() for value in self.values("COPY") if not value.startswith("--from")]


def stages(file: Path) -> list[Stage]:
    """The stages of a Dockerfile, in order."""
    with file.open("rb") as stream:
        structure = DockerfileParser(fileobj=stream).structure
    out: list[Stage] = []
    for step in structure:
        if step["instruction"] == "FROM":
            out.append(Stage(step["value"]))
        elif step["instruction"] != "COMMENT":
            out[-1].steps.append((step["instruction"], re.sub(r"\s+", " ", step["value"])))
    return out


def exec_form(value: str) -> list[str]:
    """The words of a CMD in JSON; of a HEALTHCHECK too."""
    return list(json.loads(value[value.index("[") :]))


class Folder:
    """An image played by a folder; the commands run as this user, with this machine's Python and index.

    Args:
        changes: what is written otherwise in a RUN, e.g. {" --torch-backend cpu": ""}.
    """

    def __init__(self, folder: Path, changes: dict[str, str] | None = None) -> None:
        self.folder, self.changes = folder, changes or {}
        self.environment = dict(os.environ)
        self.directory = self.path("/src")
        self.directory.mkdir(parents=True)
        for path in PATHS[2:]:
            self.path(path).mkdir(parents=True)

    def path(self, path: str) -> Path:
        """Where a path of the image lies."""
        return self.folder / path.lstrip("/") if path.startswith("/") else self.directory / path

    def here(self, text: str) -> str:
        """A text with the paths of the image replaced."""
        for path in PATHS:
            text = re.sub(rf"(?<![\w/]){path}(?![\w])", str(self.path(path)), text)
        return text

    def run_stage(self, stage: Stage) -> None:
        """All steps but those that need root: the user, and what the distribution installs.

        Raises:
            RuntimeError: a command failed.
        """
        for instruction, value in stage.steps:
            if instruction == "WORKDIR":
                self.directory = self.path(value)
                self.directory.mkdir(parents=True, exist_ok=True)
            elif instruction == "COPY" and not value.startswith("--from"):
                self.copy(value.split())
            elif instruction == "ENV":
                for name, text in stage.environment().items():
                    self.environment[name] = self.here(text).replace("$PATH", os.environ["PATH"])
            elif instruction == "RUN" and "useradd" not in value:
                self.run(value)

    def copy(self, words: list[str]) -> None:
        """As COPY does: a folder's content, files into a folder."""
        *sources, destination = words
        target = self.path(destination)
        for source in sources:
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                to = target / Path(source).name if destination.endswith("/") or len(sources) > 1 else target
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / source, to)

    def run(self, command: str) -> None:
        """A RUN."""
        for old, new in self.changes.items():
            command = command.replace(old, new)
        done = subprocess.run(
            ["sh", "-c", self.here(command)], cwd=self.directory, env=self.environment, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"{command}\n{done.stdout[-2000:]}{done.stderr[-3000:]}")
