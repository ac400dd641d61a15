"""`mimo app`, and the studies that it makes to try it on."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import pydicom
import pytest

from monai_mimo.cli import main

APP = Path(__file__).parents[1] / "monailabel_app"


def test_the_app_is_copied_whole_and_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["app", str(tmp_path / "app")]) == 0
    assert f"--app {tmp_path / 'app'} --studies STUDIES --host 127.0.0.1" in capsys.readouterr().out
    wanted = {p.relative_to(APP) for p in APP.rglob("*.py")} | {p.relative_to(APP) for p in (APP / "ohif").iterdir()}
    copied = {p.relative_to(tmp_path / "app") for p in (tmp_path / "app").rglob("*") if p.is_file()}
    assert {w for w in wanted if not set(w.parts) & {"model", "logs", "bin"}} <= copied
    assert all((APP / name).read_bytes() == (tmp_path / "app" / name).read_bytes() for name in copied)
    assert main(["app", str(tmp_path / "app")]) == 2
    assert "an existing path" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["app"]


def test_example_studies(tmp_path: Path) -> None:
    """Every modality, as the folder of a viewer: no labels, one DICOM series."""
    studies = tmp_path / "studies"
    assert main(["app", str(tmp_path / "app"), "--example-studies", str(studies)]) == 0
    names = sorted(p.name for p in studies.iterdir())
    assert len(names) == 16
    assert nib.load(studies / "phantom-ct-001.nii.gz").ndim == 3
    [series] = [p for p in studies.iterdir() if p.is_dir()]
    files = list(series.iterdir())
    assert len({pydicom.dcmread(f).SeriesInstanceUID for f in files}) == 1
    assert not any("label" in name for name in names)
