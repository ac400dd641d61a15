"""The command as a user meets it: a process, its exit code, its two streams, and what it leaves on disk."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from monai_mimo.cli import main
from monai_mimo.mimoseg.encoding import decode_rle
from monai_mimo.models.weights import save_weights
from monai_mimo.phantom.writer import write_series

from .conftest import make_nano


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A picture, volumes and a DICOM series, some of them bad."""
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (40, 56, 3), dtype=np.uint8)).save(tmp_path / "good.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "good.png").read_bytes()[:3000])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("not an image")
    volume = rng.random((12, 10, 8)).astype(np.float32)
    nib.save(nib.Nifti1Image(volume, np.diag([2, 3, 4, 1])), tmp_path / "good.nii.gz")
    (tmp_path / "cut.nii.gz").write_bytes((tmp_path / "good.nii.gz").read_bytes()[:2000])
    (tmp_path / "empty.nii.gz").write_bytes(b"")
    volume[:] = np.nan
    nib.save(nib.Nifti1Image(volume, np.eye(4)), tmp_path / "nan.nii.gz")
    write_series(tmp_path / "series", rng.integers(-900, 900, (16, 14, 4)), np.diag([2.0, 3, 4, 1]), "X", 0)
    file = next((tmp_path / "series").iterdir()).read_bytes()
    (tmp_path / "cut.dcm").write_bytes(file[: len(file) - 100])
    (tmp_path / "empty.dcm").write_bytes(b"")
    (tmp_path / "exists.png").write_bytes(b"mine")
    return tmp_path


def process(*arguments: object, cwd: Path) -> subprocess.CompletedProcess:
    """The command as a process of its own, which takes seconds to import what it needs."""
    command = [sys.executable, "-m", "monai_mimo.cli", *map(str, arguments)]
    environment = {**os.environ, "MIMO_HOME": str(cwd / "home")}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)


def mimo(*arguments: object, cwd: Path) -> subprocess.CompletedProcess:
    """The same in this process."""
    out, err, before = io.StringIO(), io.StringIO(), Path.cwd()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setenv("MIMO_HOME", str(cwd / "home"))
        os.chdir(cwd)
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code
        finally:
            os.chdir(before)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


Q = ("--question", "What is this?")
BAD = {
    "no such file": (("none.png", *Q), "none.png"),
    "not an image": (("text.png", *Q), "text.png"),
    "empty PNG": (("empty.png", *Q), "empty.png"),
    "cut PNG": (("cut.png", *Q), "cut.png"),
    "empty NIfTI": (("empty.nii.gz", "--slice", 1, *Q), "empty.nii.gz"),
    "cut NIfTI": (("cut.nii.gz", "--slice", 1, *Q), "cut.nii.gz"),
    "empty DICOM": (("empty.dcm", *Q), "empty.dcm"),
    "cut DICOM": (("cut.dcm", *Q), "cut.dcm"),
    "NaN alone": (("nan.nii.gz", "--slice", 1, *Q), "nan.nii.gz"),
    "point of a slice, volume without slice": (("good.nii.gz", "--point", "3,4"), "3 or 4 numbers"),
    "slice out of range": (("good.nii.gz", "--slice", 8, *Q), "from 0 to 7"),
    "series, slice out of range": (("series", "--slice", -1, *Q), "from 0 to 3"),
    "box without area": (("good.png", "--box", "5,5,5,9", *Q), "no area"),
    "box outside": (("good.png", "--box", "5,5,60,9", *Q), "(0, 0, 56, 40)"),
    "box of words": (("good.png", "--box", "a,b,c,d", *Q), "4 numbers"),
    "point outside": (("good.png", "--point", "56,3", *Q), "0..55"),
    "empty question": (("good.png", "--question", "  "), "question"),
    "long question": (("good.png", "--question", "kidney " * 400), "tokens"),
    "output exists": (("good.png", "--overlay", "exists.png", *Q), "exists.png"),
    "output nowhere": (("good.png", "--overlay", "no/where.png", *Q), "no"),
    "mask of a wrong kind": (("good.png", "--mask", "mask.nii.gz", *Q), "mask.nii.gz"),
    "no option of that name": (("good.png", "--colour", "red", *Q), "--colour"),
}


def test_a_process_says_the_same_in_one_line(folder: Path, nano_weights: Path) -> None:
    result = process("ask", "text.png", *Q, "--weights", nano_weights, "--json", cwd=folder)
    assert (result.returncode, result.stdout) == (2, "")
    [line] = result.stderr.strip().splitlines()
    assert line == mimo("ask", "text.png", *Q, "--weights", nano_weights, "--json", cwd=folder).stderr.strip()


def test_notes_on_the_file_are_told(folder: Path, nano_weights: Path) -> None:
    values = nib.load(folder / "good.nii.gz").get_fdata(dtype=np.float32)
    values[0, 0, 0] = np.nan
    nib.save(nib.Nifti1Image(values, np.eye(4)), folder / "nan.nii.gz")
    result = mimo("ask", "nan.nii.gz", "--slice", 1, *Q, "--weights", nano_weights, "--json", cwd=folder)
    [note] = json.loads(result.stdout)["notes"]
    assert note.startswith("1 of 960 values are NaN")
    assert f"note: nan.nii.gz: {note}" in result.stderr


@pytest.mark.parametrize("name", BAD)
def test_bad_input(folder: Path, nano_weights: Path, name: str) -> None:
    arguments, found = BAD[name]
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    result = mimo("ask", *arguments, "--weights", nano_weights, "--json", cwd=folder)
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""
    [line] = result.stderr.strip().splitlines()
    assert line.startswith("mimo")
    assert found in line
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before


def test_notes_of_a_file_and_its_channels(folder: Path, nano_weights: Path) -> None:
    values = np.random.default_rng(1).random((12, 10, 8, 2)).astype(np.float32)
    image = nib.Nifti1Image(values, np.diag([2.0, 3, 4, 1]))
    image.header["xyzt_units"] = 3
    (folder / "two.nii").write_bytes(image.to_bytes())
    given = ("ask", "two.nii", "--slice", 3, "--point", "4,5", *Q, "--weights", nano_weights)
    assert "the channel to take, 0 to 1" in mimo(*given, cwd=folder).stderr
    result = mimo(*given, "--channel", 1, "--json", cwd=folder)
    assert result.returncode == 0, result.stderr
    assert "note: two.nii: lengths are in micrometres and become millimetres" in result.stderr


def test_weights_of_another_preset(folder: Path, nano_weights: Path) -> None:
    other = make_nano(mask_decoder={"width": 64, "layers": 2, "heads": 2, "mlp_width": 64})
    save_weights(other, folder / "other")
    (folder / "other" / "config.json").write_bytes((nano_weights / "config.json").read_bytes())
    result = mimo("ask", "good.png", *Q, "--weights", "other", cwd=folder)
    assert result.returncode == 2
    [line] = result.stderr.strip().splitlines()
    assert "preset nano" in line


def test_weights_of_the_package_answer_when_none_were_chosen(folder: Path) -> None:
    result = mimo("ask", "good.png", *Q, "--json", cwd=folder)
    assert result.returncode == 0, result.stderr
    assert re.search(r"^weights: (lite|small)@[0-9a-f]{12} ", result.stderr, re.MULTILINE)
    json.loads(result.stdout)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk(folder: Path, nano_weights: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """The disk fills up while the overlay is written: one line, exit code 2, and no half of a file."""

    def no_space(self: Image.Image, fp: object, *args: object, **kwargs: object) -> None:
        with open("/dev/full", "wb", buffering=0) as file:
            file.write(b"x")

    monkeypatch.setattr(Image.Image, "save", no_space)
    out = folder / "new.png"
    code = main(["ask", str(folder / "good.png"), *Q, "--weights", str(nano_weights), "--overlay", str(out)])
    assert code == 2
    assert "No space left" in capsys.readouterr().err
    assert not out.exists()
    assert not [p for p in folder.iterdir() if p.name.startswith("tmp")]


@pytest.mark.parametrize(
    "source",
    ["x=nowhere", "x=.", "x", "x=.,label=liver"],
)
def test_bad_sources(folder: Path, source: str) -> None:
    before = sorted(folder.iterdir())
    result = mimo("build", "--source", source, "--out", "built", cwd=folder)
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert sorted(folder.iterdir()) == before


def test_json_is_one_object_with_the_documented_keys(folder: Path, nano_weights: Path) -> None:
    result = process(
        "ask", "good.nii.gz", "--slice", 3, "--point", "4,5", *Q, "--json", "--weights", nano_weights, cwd=folder
    )
    assert result.returncode == 0, result.stderr
    out = json.loads(result.stdout)
    assert set(out) == {"answer", "entities", "image", "warnings", "notes", "model", "withheld", "notices"}
    assert out["image"] == {"size": [10, 12], "slice": 3, "modality": None}
    for token in ("<p>", "</p>", "<SEG>", "<s>", "</s>", "<pad>"):
        assert token not in out["answer"]


class TestWithAnAnswer:
    """An untrained model seldom grounds anything, so here it is made to say one sentence with one mask."""

    @pytest.fixture(autouse=True)
    def _answering(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from monai_mimo.inference import Answer, Entity, MimoPredictor

        def ask(self: MimoPredictor, question: str, *prompts: object) -> Answer:
            image = self._image
            assert image is not None
            h, w = image.resize.height, image.resize.width
            mask = np.zeros((h, w), dtype=bool)
            mask[1:3, 2:7] = True
            return Answer(
                "It is the liver.", [Entity("liver", (10, 15), mask, 0.9)], (h, w), image.slice, None, image.spacing_mm
            )

        monkeypatch.setattr(MimoPredictor, "ask", ask)

    def test_what_scores_low_is_withheld(self, folder: Path, nano_weights: Path, capsys: pytest.CaptureFixture) -> None:
        arguments = ["ask", str(folder / "good.nii.gz"), "--slice", "3", *Q, "--weights", str(nano_weights)]
        assert main([*arguments, "--uncertain", "0.95", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["entities"][0]["status"] == "uncertain"
        out = folder / "withheld.nii.gz"
        assert main([*arguments, "--uncertain", "0.95", "--withhold", "0.91", "--mask", str(out)]) == 0
        printed = capsys.readouterr()
        assert "liver" not in printed.out + printed.err
        assert "withheld: a phrase and its mask (score 0.90, below 0.91)" in printed.err
        assert not np.asarray(nib.load(out).dataobj).any()
        assert main([*arguments, "--withhold", "0.6"]) == 2  # above --uncertain

    def test_mask_of_a_volume(self, folder: Path, nano_weights: Path) -> None:
        out = folder / "mask.nii.gz"
        arguments = ["ask", str(folder / "good.nii.gz"), "--slice", "3", *Q, "--weights", str(nano_weights)]
        assert main([*arguments, "--mask", str(out)]) == 0
        written, source = nib.load(out), nib.load(folder / "good.nii.gz")
        np.testing.assert_allclose(written.affine, source.affine)
        values = np.asarray(written.dataobj)
        assert values.shape == source.shape
        expected = np.zeros(source.shape)
        expected[::-1, ::-1, 3][2:7, 1:3] = 1  # columns run along -x, rows along -y
        np.testing.assert_array_equal(values, expected)
        assert main([*arguments, "--mask", str(out)]) == 2
        assert main([*arguments, "--mask", str(out), "--force"]) == 0

    def test_text_and_overlay_of_a_picture(
        self, folder: Path, nano_weights: Path, capsys: pytest.CaptureFixture
    ) -> None:
        out, mask = folder / "overlay.png", folder / "mask.png"
        arguments = ["ask", str(folder / "good.png"), *Q, "--weights", str(nano_weights), "--overlay", str(out)]
        assert main([*arguments, "--mask", str(mask)]) == 0
        printed = capsys.readouterr()
        assert printed.out.startswith("It is the liver.\n")
        assert "10 px" in printed.out
        assert Image.open(out).size[0] / Image.open(out).size[1] == pytest.approx(56 / 40)
        assert (np.asarray(Image.open(mask)) == 1).sum() == 10

    def test_json(self, folder: Path, nano_weights: Path, capsys: pytest.CaptureFixture) -> None:
        assert (
            main(["ask", str(folder / "good.nii.gz"), "--slice", "3", *Q, "--weights", str(nano_weights), "--json"])
            == 0
        )
        [entity] = json.loads(capsys.readouterr().out)["entities"]
        assert entity["area_px"] == decode_rle(entity["mask"]).sum() == 10
        assert entity["area_mm2"] == 10 * 2 * 3
        assert entity["box"] == [2, 1, 7, 3]
