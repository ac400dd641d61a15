"""docs/privacy.md, held against what a process does: Python's audit hooks tell of connections and of files."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

WATCHED = """
import os, sys

def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        seen.append((event, str(arguments)))
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        path, mode, flags = arguments
        if (flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and not str(path).startswith("/dev/"):
            seen.append((event, str(path)))

seen = []
sys.addaudithook(watch)
from monai_mimo.cli import main
status = main(sys.argv[1:])
from pathlib import Path
Path(os.environ["SEEN"]).write_text("\\n".join(map(str, list(seen))))
sys.exit(status)
"""


def watched(tmp_path: Path, *arguments: object) -> tuple[list[str], str]:
    """What a command of `mimo` connected to and wrote; what it printed."""
    home = tmp_path / "home"
    (home / "tmp").mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "HOME": str(home), "SEEN": str(tmp_path / "seen.txt"), "PYTHONDONTWRITEBYTECODE": "1"}
    environment["TMPDIR"] = str(home / "tmp")
    environment.pop("MIMO_HOME", None)
    command = [sys.executable, "-c", WATCHED, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=home, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert list((home / "tmp").iterdir()) == []
    seen = (tmp_path / "seen.txt").read_text().splitlines()
    probes = [line for line in seen if re.search(rf"'{home}/tmp/[a-z0-9_]{{8}}'", line)]  # by tempfile.gettempdir()
    assert len(probes) <= 1
    return [line for line in seen if line not in probes], done.stdout


def test_asking_connects_to_nothing_and_writes_nothing(tmp_path: Path) -> None:
    image = tmp_path / "patient.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)).save(image)
    seen, printed = watched(tmp_path, "ask", image, "--question", "Where is the lung?", "--weights", "lite")
    assert printed
    assert seen == []
    assert list((tmp_path / "home").rglob("*.png")) == []


def test_the_watch_sees(tmp_path: Path) -> None:
    """So that the test above can fail."""
    image = tmp_path / "patient.png"
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(image)
    overlay = tmp_path / "overlay.png"
    seen, _ = watched(
        tmp_path, "ask", image, "--question", "Where is the lung?", "--weights", "lite", "--overlay", overlay
    )
    assert any("overlay" in line for line in seen)
    with pytest.raises(AssertionError, match="Hub"):
        watched(tmp_path, "ask", image, "--question", "Where?", "--weights", "owner/none-such")
