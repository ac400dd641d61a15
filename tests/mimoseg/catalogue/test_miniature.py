"""Every record of the catalogue on a drawn example of its set: what was drawn comes back, in every series and sequence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from monai_mimo.errors import OutputError
from monai_mimo.mimoseg.cases import SourceSpec
from monai_mimo.mimoseg.catalogue import catalogue
from monai_mimo.mimoseg.catalogue.miniature import draw_miniature
from monai_mimo.mimoseg.label_files import read_masks
from monai_mimo.mimoseg.read_case import read_case
from monai_mimo.mimoseg.sources import open_source
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
