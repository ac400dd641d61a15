"""A small built phantom that the tests of this folder share."""

from __future__ import annotations

from pathlib import Path

import pytest

from monai_mimo.mimoseg import build, parse_source
from monai_mimo.phantom import write_phantom


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom(tmp_path_factory.mktemp("source") / "phantom", patients=4, seed=5, progress=False)


@pytest.fixture(scope="session")
def built(phantom: Path) -> Path:
    out = phantom.parent / "built"
    build([parse_source(f"phantom={phantom}")], out, slices_per_volume=3, progress=False)
    return out
