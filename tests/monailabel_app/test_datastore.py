"""Studies and labels in a folder: what is listed, and what is left when the server is killed while it saves."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from .conftest import APP, BrightSpot
from .make_dicom import write_series
from .test_geometry import affine_of


def save(path: Path, value: int = 0) -> None:
    nib.save(nib.Nifti1Image(np.full((8, 9, 5), value, dtype=np.uint8), np.eye(4)), path)


def test_listing(start: Callable[..., Any], tmp_path: Path) -> None:
    studies = tmp_path / "studies"
    studies.mkdir()
    save(studies / "a.b.nii.gz")
    save(studies / "c.nii")
    (studies / "notes.txt").write_text("x")
    (studies / "folder").mkdir()
    (studies / "folder" / "x.txt").write_text("x")
    write_series(studies / "1.2.840.1", np.zeros((4, 5, 3)), np.eye(4), range(3))
    client = start(studies, BrightSpot())
    assert sorted(client.mimo.datastore().list_images()) == ["1.2.840.1", "a.b", "c"]
    assert client.get("/datastore/image", params={"image": "a.b"}).content == (studies / "a.b.nii.gz").read_bytes()
    assert client.head("/datastore/image", params={"image": "c"}).status_code == 200
    assert client.get("/datastore/image", params={"image": "nobody"}).status_code == 404


@pytest.mark.parametrize("moment", ["label", "table"])
def test_killed_while_saving(tmp_path: Path, moment: str) -> None:
    """The process dies at the worst moment, before the new file or the new table takes its name."""
    studies = tmp_path / "studies"
    studies.mkdir()
    save(studies / "case.nii.gz")
    save(tmp_path / "old.nii.gz", 1)
    save(tmp_path / "new.nii.gz", 2)
    script = textwrap.dedent(
        f"""
        import os, sys
        sys.path.insert(0, {str(APP)!r})
        from lib.request_limits import Limits
        from lib.study_folder import StudyFolder
        store = StudyFolder({str(studies)!r}, Limits(), auto_reload=False)
        store.save_label("case", {str(tmp_path / "old.nii.gz")!r}, "final", {{"by": "first"}})
        calls = []
        def die(*names):
            calls.append(names)
            if len(calls) == {1 if moment == "label" else 2}:
                os.kill(os.getpid(), 9)
            return rename(*names)
        rename, os.replace = os.replace, die
        store.save_label("case", {str(tmp_path / "new.nii.gz")!r}, "final", {{"by": "second"}})
        """
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True).returncode == -9
    sys.path.insert(0, str(APP))
    from lib.request_limits import Limits
    from lib.study_folder import StudyFolder

    store = StudyFolder(str(studies), Limits(), auto_reload=False)
    label = nib.load(store.get_label_uri("case", "final")).get_fdata()  # a whole file, of one version
    assert np.unique(label).tolist() == ([1] if moment == "label" else [2])
    assert store.get_label_info("case", "final")["by"] == "first"
    assert json.loads((studies / "datastore_v2.json").read_text())["objects"]["case"]
    assert [p.name for p in studies.rglob(".tmp-*")] == []


def test_a_label_in_another_form_takes_the_place_of_the_old(start: Callable[..., Any], tmp_path: Path) -> None:
    studies = tmp_path / "studies"
    studies.mkdir()
    save(studies / "case.nii.gz")
    client = start(studies, BrightSpot())
    for name in ("l.nii.gz", "l.nrrd"):
        response = client.put("/datastore/label", params={"image": "case"}, files={"label": (name, b"1234")})
        assert response.status_code == 200
    assert [p.name for p in (studies / "labels" / "final").iterdir()] == ["case.nrrd"]
    assert client.get("/datastore/label", params={"label": "case", "tag": "final"}).content == b"1234"


def test_a_label_with_other_axes_is_turned(tmp_path: Path) -> None:
    """Viewers may save on axes of their own; what lies elsewhere in the patient is refused."""
    from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform

    from lib.pacs import read_labels
    from monai_mimo.errors import InputError

    affine = affine_of("LPS", (1, 1.5, 3), True)
    labels = np.zeros((9, 7, 5), dtype=np.uint8)
    labels[8, 0, 2], labels[1, 5, 4] = 1, 2
    nib.save(nib.Nifti1Image(np.zeros_like(labels), affine), tmp_path / "image.nii.gz")
    for codes in ("LPS", "RAS", "PIR", "SLA"):
        change = ornt_transform(axcodes2ornt("LPS"), axcodes2ornt(codes))
        other = nib.Nifti1Image(labels, affine).as_reoriented(change)
        assert np.allclose(other.affine, affine @ inv_ornt_aff(change, labels.shape))
        nib.save(other, tmp_path / "label.nii.gz")
        assert np.array_equal(read_labels(tmp_path / "label.nii.gz", tmp_path / "image.nii.gz"), labels)
    moved = affine.copy()
    moved[0, 3] += 0.5
    for array, place in ((labels, moved), (labels[:8], affine)):
        nib.save(nib.Nifti1Image(array, place), tmp_path / "label.nii.gz")
        with pytest.raises(InputError, match="another place"):
            read_labels(tmp_path / "label.nii.gz", tmp_path / "image.nii.gz")
