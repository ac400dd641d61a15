"""The wheel holds what an editable install has: every module and data file of the three source trees, and nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TREES = {"monai_mimo": "monai_mimo", "transforms": "monai_mimo/transforms", "monailabel_app": "monai_mimo/app"}
NOT_SOURCES = shutil.ignore_patterns("__pycache__", ".*")


def copy_without_weights(source: str, target: str) -> None:
    """A copy of a file; weights are empty in it, since only names are compared."""
    Path(target).touch() if source.endswith(".safetensors") else shutil.copyfile(source, target)


@pytest.mark.skipif(find_spec("pip") is None or find_spec("setuptools") is None, reason="needs pip and setuptools")
def test_the_wheel_holds_what_the_sources_hold(tmp_path: Path) -> None:
    sources = tmp_path / "sources"
    for tree in TREES:
        shutil.copytree(ROOT / tree, sources / tree, ignore=NOT_SOURCES, copy_function=copy_without_weights)
    for made in ("bin", "logs", "model"):  # by a server that was started on the app of this checkout
        shutil.rmtree(sources / "monailabel_app" / made, ignore_errors=True)
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / file, sources / file)

    command = ["-m", "pip", "wheel", "-v", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, sources]
    built = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=300)
    assert built.returncode == 0, built.stderr[-2000:]
    assert "absent from the `packages` configuration" not in built.stdout + built.stderr
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = {
        f"{package}/{file.relative_to(sources / tree).as_posix()}"
        for tree, package in TREES.items()
        for file in (sources / tree).rglob("*")
        if file.is_file()
    }
    assert sorted(expected - packed) == []
    assert sorted(packed - expected) == []
