"""The steps of docker/Dockerfile in a fresh virtual environment: minutes, and gigabytes of packages from the index."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ..e2e.services import free_port, get, running, wait_until
from .dockerfiles import DOCKERFILE, Folder, Stage, exec_form, stages


def cpu_index_answers() -> bool:
    """Whether PyTorch's index of CPU builds, which uv knows by name, can be reached."""
    command = ["uv", "pip", "install", "--dry-run", "--torch-backend", "cpu", "--reinstall", "torch"]
    command += ["--python", sys.executable]
    return subprocess.run(command, capture_output=True, timeout=120).returncode == 0


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_dockerfile_step_by_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "tools"], check=True)  # the image's own Python
    os.environ["PATH"] = f"{tmp_path / 'tools' / 'bin'}:{os.environ['PATH']}"
    image = Folder(tmp_path / "image")
    build, last = stages(DOCKERFILE)
    first = 1 + next(number for number, (name, _) in enumerate(build.steps) if name == "RUN")
    image.run_stage(Stage(build.image, build.steps[:first]))  # uv and the environment
    if not cpu_index_answers():
        image.changes[" --torch-backend cpu"] = ""
        with capsys.disabled():
            print("PyTorch's index cannot be reached: torch with CUDA")
    image.run_stage(Stage(build.image, build.steps[first:]))
    image.run_stage(last)

    site = next(image.path("/opt/mimo").glob("lib/python*/site-packages"))
    kilobytes = {"all": 0, "CUDA": 0}
    for file in site.rglob("*"):
        if file.is_file() and not file.is_symlink():
            cuda = file.relative_to(site).parts[0] in ("nvidia", "triton", "torch")
            kilobytes["CUDA" if cuda else "all"] += file.stat().st_size >> 10
    size = {name: number >> 10 for name, number in kilobytes.items()}
    with capsys.disabled():
        print(f"installed: {size['all']} MB without torch, {size['CUDA']} MB of torch and CUDA")
    assert size["all"] < 2000  # and torch for the CPU is below 0.8 GB, Python's image below 0.2: less than 3 GB

    port = free_port()
    environment = image.environment | {"HOST": "127.0.0.1", "PORT": str(port)}
    [command], [check] = last.values("CMD"), last.values("HEALTHCHECK")
    [program] = exec_form(command)
    with running([str(image.path("/opt/mimo/bin") / program)], tmp_path / "app.log", environment) as process:

        def ready() -> bool:
            assert process.poll() is None, (tmp_path / "app.log").read_text()[-3000:]
            return bool(get(f"http://127.0.0.1:{port}/info/", 60))

        wait_until(ready, "the app", 300)
        health = [word.replace(":8000", f":{port}") for word in exec_form(check)]
        assert subprocess.run(health, env=environment).returncode == 0
    assert (image.path("/data") / "studies").is_dir()
    assert subprocess.run(health, env=environment, capture_output=True).returncode == 1  # it has ended
