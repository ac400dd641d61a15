"""Sets that hold the same patients: nobody is in two splits, whichever set an image was taken from."""

from __future__ import annotations

import hashlib
import json
from itertools import permutations
from pathlib import Path

import pytest

from monai_mimo.mimoseg import SourceSpec, parse_source
from monai_mimo.mimoseg.builder.plan import plan_build
from monai_mimo.mimoseg.catalogue import catalogue
from monai_mimo.mimoseg.catalogue.miniature import draw_miniature
from monai_mimo.mimoseg.sources.cases import patient_key
from monai_mimo.mimoseg.sources.discover import open_source

from ..small_source import small_source

# Of each cohort, the field that names the patient, how its values begin, and other fields.
FIELDS = {
    "ISIC": ("image", "ISIC_00000", {"split": ["Training"]}),
    "CVC-ClinicDB": ("frame", "", {}),
    "PI-CAI": ("patient", "100", {"study": ["1000000"]}),
}


def members(cohort: str, root: Path) -> list[SourceSpec]:
    """Miniatures of its sets; each has some of the patients of the one before, and others."""
    specs = []
    for number, record in enumerate(r for r in catalogue().values() if r.cohort == cohort):
        field, begin, others = FIELDS[cohort]
        patients = [f"{begin}{n}" for n in range(10 + 3 * number, 20 + 3 * number)]
        miniature = record.miniature.model_copy(
            update={"fields": {field: patients, **others}, "shape": (24, 24, 2)},
        )
        draw_miniature(record.model_copy(update={"miniature": miniature}), root / record.name)
        specs.append(SourceSpec(record.name, root / record.name))
    return specs


@pytest.mark.parametrize("cohort", FIELDS)
def test_no_patient_of_a_cohort_is_in_two_splits(cohort: str, tmp_path: Path) -> None:
    specs = members(cohort, tmp_path)
    assert len(specs) > 1
    found = []
    for order in permutations(specs):
        plan = plan_build(order, ratio="50:25:25")
        splits: dict[str, set[str]] = {}
        for case in plan.cases:
            splits.setdefault(case.patient, set()).add(plan.split(case))
        assert len(splits) == 10 + 3 * (len(specs) - 1)
        assert all(len(of) == 1 for of in splits.values())
        assert set.union(*splits.values()) == {"train", "validation", "test"}
        found.append(splits)
    assert all(splits == found[0] for splits in found)


def test_every_cohort_is_of_several_sets() -> None:
    cohorts = [record.cohort for record in catalogue().values() if record.cohort]
    assert set(cohorts) == set(FIELDS)
    assert all(cohorts.count(cohort) > 1 for cohort in FIELDS)


def test_the_same_ids_in_the_sa_med2d_release(tmp_path: Path) -> None:
    names = [
        f"images/dermoscopy_00--{name}--ISIC_0000001--2d_none.png" for name in ("isic2016_task1", "isic2018_task1")
    ]
    pairs = {name: [f"masks/{Path(name).stem}--0000_000.png"] for name in names}
    (tmp_path / "SAMed2D_v1.json").write_text(json.dumps(pairs))
    mapping = {"skin_lesion": "0000"}
    (tmp_path / "SAMed2D_v1_class_mapping_id.json").write_text(
        json.dumps({"isic2016_task1": mapping, "isic2018_task1": mapping})
    )
    one, other = open_source(SourceSpec("sam", tmp_path)).cases
    assert one.source != other.source
    assert patient_key(one) == patient_key(other)


def test_a_record_of_ones_own_joins_a_cohort(tmp_path: Path) -> None:
    root = small_source(tmp_path / "mine", 4, 0)
    (root / "labels.json").unlink()
    record = {
        "name": "mine",
        "cohort": "ours",
        "layouts": [
            {
                "images": "images/{patient}_{n}.png",
                "labels": [{"file": "masks/{patient}_{n}.png", "entities": {"liver": [1], "spleen": [2]}}],
            }
        ],
        "series": [{"modality": "CT", "perspectives": [1]}],
    }
    (root / "mimoseg.yaml").write_text(json.dumps(record))
    keys = [{patient_key(case) for case in open_source(SourceSpec(name, root)).cases} for name in ("a", "b")]
    assert keys[0] == keys[1] == {hashlib.sha256(f"ours/p0{n}".encode()).hexdigest()[:16] for n in (0, 1)}


def test_without_a_cohort_a_patient_is_of_its_source(phantom: Path, tmp_path: Path) -> None:
    for spec in (parse_source(f"phantom={phantom}"), SourceSpec("small", small_source(tmp_path / "small"))):
        for case in open_source(spec).cases:
            assert patient_key(case) == hashlib.sha256(f"{spec.name}/{case.patient}".encode()).hexdigest()[:16]
