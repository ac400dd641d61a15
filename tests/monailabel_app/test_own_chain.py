"""The example of docs/app.md: a copy of the app with a transform of one's own changes the mask that is served."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from monai_mimo.cli import main

ROOT = Path(__file__).parents[2]
SERVE = """
import sys
from pathlib import Path
import pytest
from tests.monailabel_app import conftest
copy, studies, out = map(Path, sys.argv[1:])
sys.path.insert(0, str(copy))
conftest.APP = copy
with pytest.MonkeyPatch.context() as patch, conftest.starting(out.parent, patch) as start:
    client = start(studies, conftest.BrightSpot())
    said, data = conftest.infer(client, "mimo_click", "case", "all", foreground=[[20, 16, 2]])
    out.write_bytes(data)
    assert conftest.infer(client, "mimo_click", "case", foreground=[[0, 0, 2]])["entities"] == []  # nothing: no error
    print(said["entities"][0]["voxels"])
"""


def test_the_example_smooths_the_mask_that_is_served(tmp_path: Path) -> None:
    bright = np.zeros((48, 40), dtype=bool)
    bright[14:30, 8:26] = True
    bright[36, 30] = True  # a speck
    values = np.where(bright, 1000, -500).astype(np.int16)[..., None].repeat(4, axis=2)
    studies = tmp_path / "studies"
    studies.mkdir()
    nib.save(nib.Nifti1Image(values, np.diag([-1, -1, 4, 1])), studies / "case.nii.gz")
    copy = tmp_path / "my_app"
    assert main(["app", str(copy)]) == 0
    page = (ROOT / "docs" / "app.md").read_text().split("## Change the chain")[1]
    example = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert example is not None
    (copy / "lib" / "smooth.py").write_text(example[1])
    edited = (copy / "main.py").read_text().replace('"mimo_click": Click(', '"mimo_click": SmoothClick(')
    edited = edited.replace("from lib.infers", "from lib.smooth import SmoothClick\nfrom lib.infers")
    (copy / "main.py").write_text(edited)
    out = tmp_path / "mask.nii.gz"
    command = [sys.executable, "-c", SERVE, str(copy), str(studies), str(out)]
    served = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert served.returncode == 0, served.stderr[-2000:]
    found = np.asarray(nib.load(out).dataobj)[..., 2] == 1  # type: ignore[attr-defined]
    expected = ndimage.median_filter(bright.astype(np.uint8), size=5) == 1
    assert np.array_equal(found, expected)
    assert not np.array_equal(found, bright)
    assert int(served.stdout.split()[-1]) == expected.sum()
