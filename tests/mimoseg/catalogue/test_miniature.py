"""Every record of the catalogue on a drawn example of its set: what was drawn comes back, in every series and sequence."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from monai_mimo.cli import main
from monai_mimo.errors import DataError, OutputError
from monai_mimo.mimoseg.catalogue import Record, catalogue
from monai_mimo.mimoseg.catalogue.miniature import draw_miniature
from monai_mimo.mimoseg.label_files import read_masks
from monai_mimo.mimoseg.sources.cases import SourceSpec
from monai_mimo.mimoseg.sources.discover import open_source
from monai_mimo.mimoseg.sources.read_case import read_case
from monai_mimo.transforms import MedicalImage

LAYOUTS = [(name, number) for name, record in catalogue().items() for number in range(len(record.layouts))]


@pytest.mark.parametrize(("name", "layout"), LAYOUTS, ids=[f"{name}-{number}" for name, number in LAYOUTS])
def test_what_was_drawn_is_read(name: str, layout: int, tmp_path: Path) -> None:
    record = catalogue()[name]
    drawn = {image.path: image for image in draw_miniature(record, tmp_path / name, layout)}
    source = open_source(SourceSpec(name, tmp_path / name))
    assert source.record is record
    assert not source.notes
    used = set()
    for case in source.cases:
        truth = drawn[case.image].masks
        image = MedicalImage.open(case.image, modality=case.modality, channel=case.channel, window=case.window)
        masks = read_masks(case, image)
        assert masks
        for entity, found in masks.items():
            expected = truth[entity]
            assert expected.any()
            shown = np.stack([found[number] for number in range(len(found.areas))])
            np.testing.assert_array_equal(shown, expected, err_msg=f"{entity} in {case.image}")
            np.testing.assert_array_equal(found.areas, expected.sum(axis=(1, 2)))
            used.add((case.modality, case.perspectives, case.sequence, entity))
        slices = list(read_case(case, 2))
        assert slices
        assert all(shown.masks for shown in slices)
    labelled = {entity for file in record.layouts[layout].labels for entity in file.entities}
    for series in record.series:
        for sequence in series.sequences or {None: None}:
            for entity in series.entities or labelled:
                assert (series.modality, tuple(series.perspectives), sequence, entity) in used
    assert len({case.patient for case in source.cases}) > 1


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        draw_miniature(catalogue()["KiTS"], tmp_path)


def test_a_field_without_values_leaves_nothing(tmp_path: Path) -> None:
    values = catalogue()["KiTS"].model_dump() | {"miniature": {}}
    with pytest.raises(DataError, match=r"miniature\.fields"):
        draw_miniature(Record.model_validate(values), tmp_path / "out")
    assert not any(tmp_path.iterdir())


def test_the_record_of_the_documentation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It can be drawn, checked and opened."""
    page = Path(__file__).parents[3] / "docs" / "catalogue.md"
    [text] = re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)
    record = tmp_path / "mine.yaml"
    record.write_text(text)
    assert main(["catalogue", "miniature", str(record), str(tmp_path / "mine")]) == 0
    assert (tmp_path / "mine" / "scans" / "p001_2019" / "t1.nii.gz").is_file()
    assert main(["catalogue", "check", str(record), str(tmp_path / "mine")]) == 0
    assert "missing" not in capsys.readouterr().out
    source = open_source(SourceSpec("mine", tmp_path / "mine", record=record))
    assert {(c.patient, c.sequence) for c in source.cases} == {(p, s) for p in ("p001", "p002") for s in ("T1", "T2")}
    (tmp_path / "mine" / "scans" / "p001_2019" / "t2.nii.gz").unlink()
    (tmp_path / "mine" / "scans" / "p002_2019" / "t2.nii.gz").unlink()
    assert main(["catalogue", "check", str(record), str(tmp_path / "mine")]) == 2
    assert "missing: MR T2" in capsys.readouterr().out


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["catalogue", "--modality", "X-ray", "--perspective", "3"]) == 0
    out = capsys.readouterr().out
    assert "Chest-Image-Pneum" in out
    assert "KiTS" not in out
    assert main(["catalogue", "show", "KiTS19"]) == 0
    out = capsys.readouterr().out
    for text in (
        "case_{patient}/segmentation.nii.gz",
        "case_00000/imaging.nii.gz",
        "kidney tumor: 2",
        "33,112",
        "CC BY-NC-SA",
    ):
        assert text in out
    assert main(["catalogue", "show", "KiTZ"]) == 2
    assert "KiTS" in capsys.readouterr().err
    assert main(["catalogue", "check", "KiTS", str(tmp_path)]) == 2
    assert "missing: case_{patient}/imaging.nii.gz" in capsys.readouterr().out
    assert main(["catalogue", "--modality", "sonar"]) == 2
