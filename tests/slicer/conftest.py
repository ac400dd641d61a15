"""The module for 3D Slicer, with the real server and a stand-in for 3D Slicer."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

MODULE = Path(__file__).parents[2] / "slicer" / "MIMO"
sys.path.insert(0, str(MODULE))
INSTALLED = find_spec("monailabel") is not None
NEED_SERVER = ["test_client.py", "test_panel.py"]
collect_ignore_glob = [] if INSTALLED else NEED_SERVER

from ..monailabel_app.conftest import BrightSpot, oblique_affine, serving, starting  # noqa: E402

SPOT = (10, 7, 3)  # the first corner of a bright cube of 4 x 4 x 2 voxels


def spot(slices: tuple[int, ...] = (3, 4)) -> np.ndarray:
    """The voxels of the bright cube on these slices, bool [i, j, k]."""
    found = np.zeros((24, 20, 9), bool)
    i, j, _ = SPOT
    found[i : i + 4, j : j + 4, list(slices)] = True
    return found


@dataclass
class Served:
    """A server that can be asked, with one oblique volume in its studies.

    Attributes:
        app: the app behind it.
        model: the stand-in for its model.
    """

    address: str
    studies: Path
    app: Any
    model: BrightSpot


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("server")
    values = np.random.default_rng(0).integers(0, 100, (24, 20, 9)).astype(np.int16)
    values[spot()] = 900
    studies = folder / "studies"
    studies.mkdir()
    nib.save(nib.Nifti1Image(values, oblique_affine()), studies / "oblique.nii.gz")
    model = BrightSpot()
    with pytest.MonkeyPatch.context() as monkeypatch, starting(folder, monkeypatch) as start:
        client = start(studies, model)
        with serving() as address:
            yield Served(address, studies, client.mimo, model)


@pytest.fixture
def slicer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The stand-in for 3D Slicer."""
    from .stand_in import install

    (tmp_path / "temporary").mkdir()
    return install(monkeypatch, MODULE, {}, tmp_path / "temporary")


@pytest.fixture
def module(slicer: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """MIMO.py, as 3D Slicer imports it."""
    monkeypatch.delitem(sys.modules, "MIMO", raising=False)
    return importlib.import_module("MIMO")
