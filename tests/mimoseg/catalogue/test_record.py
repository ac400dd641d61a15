"""The records against the published table, the vocabulary and each other."""

from __future__ import annotations

import csv
import re
import runpy
from collections.abc import Iterator
from itertools import chain, product
from pathlib import Path

import pytest

from monai_mimo.mimoseg.catalogue import Layout, Record, catalogue
from monai_mimo.mimoseg.catalogue.patterns import Pattern
from monai_mimo.mimoseg.catalogue.vocabulary import standard_name, vocabulary

ROOT = Path(__file__).parents[3]
MODALITIES = {"X-Ray": "X-ray", "Fundus-Photography": "fundus", "Dermoscopy": "dermoscopy", "Endoscopy": "endoscopy"}
Row = tuple[str, str, frozenset[str], str, int, int, tuple[int, ...]]


def published_rows() -> list[Row]:
    rows = []
    with (Path(__file__).parent / "published_sources.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            text = row["modality"]
            split = None if text in MODALITIES else re.fullmatch(r"(\w+)[(-](.+?)\)?", text)
            modality, sequences = split.groups() if split else (text, "")
            modality = {**MODALITIES, "Ultrasound": "ultrasound"}.get(modality, modality)
            named = frozenset(sequences.lower().split(",")) if sequences else frozenset()
            perspectives = tuple(n for n in (1, 2, 3, 4) if row[f"perspective_{n}"] == "1")
            counts = int(row["images"]), int(row["masks"])
            rows.append((row["dataset"], modality, named, row["labels"], *counts, perspectives))
    return rows


def catalogue_rows() -> list[Row]:
    rows = []
    for record in catalogue().values():
        for series in record.series:
            if series.published is not None:
                named = frozenset(name.lower() for name in series.sequences or {})
                about = series.published
                counts = int(about["images"]), int(about["masks"])
                perspectives = tuple(series.perspectives)
                rows.append((record.name, series.modality, named, str(about["labels"]), *counts, perspectives))
    return rows


def published_records() -> list[Record]:
    names = {row[0] for row in published_rows()}
    return [record for record in catalogue().values() if record.name in names]


def test_the_rows_are_those_of_the_published_table():
    expected = published_rows()
    assert len(expected) == 62
    assert len({row[0] for row in expected}) == 54
    assert sorted(catalogue_rows(), key=repr) == sorted(expected, key=repr)


def test_a_name_or_alias_belongs_to_one_set():
    names = [name.casefold() for record in catalogue().values() for name in (record.name, *record.aliases)]
    assert sorted(names) == sorted(set(names))


def test_entities_are_standard_names():
    for record in catalogue().values():
        for entity in chain.from_iterable(file.entities for layout in record.layouts for file in layout.labels):
            assert entity in vocabulary(), f"{record.name}: {entity} (the standard name is {standard_name(entity)})"


def test_layouts_of_a_set_label_the_same():
    for record in catalogue().values():
        labelled = {frozenset(e for file in layout.labels for e in file.entities) for layout in record.layouts}
        assert len(labelled) == 1, record.name


def test_a_value_stands_for_one_entity_unless_one_is_part_of_the_other():
    parts = {("optic disc", "optic cup")}
    for record in catalogue().values():
        for file in chain.from_iterable(layout.labels for layout in record.layouts):
            for one, other in product(file.entities, repeat=2):
                shared = set(file.entities[one]) & set(file.entities[other])
                assert one == other or not shared or {(one, other), (other, one)} & parts, (record.name, one, other)
            assert not set(file.ignored) & set(chain.from_iterable(file.entities.values())), record.name


@pytest.mark.parametrize("record", published_records(), ids=lambda record: record.name)
def test_texts_for_people_are_there(record: Record):
    for text in (record.title, record.licence, record.homepage, record.citation, record.obtain):
        assert len(text) >= 3
        assert "://" not in text
    assert re.search(r"\b(19|20)\d\d\b", record.citation)


def sequences(record: Record) -> dict[str, list[str]]:
    """What may stand for `{sequence}`."""
    fills = [f for series in record.series for f in (series.sequences or {}).values() if isinstance(f, str) and f]
    return {"sequence": fills} if fills else {}


def combinations(record: Record, layout: Layout) -> Iterator[dict[str, str]]:
    """The miniature's fields that fit a layout, with each sequence."""
    given = record.miniature.fields
    rows = [dict(zip(given, v)) for v in product(*given.values())] if isinstance(given, dict) else given
    for row, sequence in product(rows, sequences(record).get("sequence", [""])):
        fields = {**row, "sequence": sequence}
        if set(Pattern(layout.images).fields) <= set(fields):
            yield fields


@pytest.mark.parametrize("record", catalogue().values(), ids=lambda record: record.name)
def test_a_path_made_of_fields_gives_the_fields_back(record: Record):
    """Otherwise a patient or a label would be read from the wrong part of a name."""
    for layout in record.layouts:
        images = Pattern(layout.images, sequences(record))
        patients = set()
        for fields in combinations(record, layout):
            path = images.fill(fields).replace("*", record.miniature.wildcards)
            assert images.match(path) == {name: fields[name] for name in images.fields}
            patients.add(Pattern(layout.patient).fill(fields))
            for file in layout.labels:
                labels = file.pattern(sequences(record), images)
                for value in chain.from_iterable(file.entities.values()) if "entity" in labels.fields else [""]:
                    full = {**fields, "entity": str(value)}
                    path = labels.fill(full).replace("*", record.miniature.wildcards)
                    assert labels.match(path) == {name: full[name] for name in labels.fields}
                    assert images.match(path) is None, f"{path} is taken for an image"
        assert len(patients) > 1


@pytest.mark.parametrize("record", catalogue().values(), ids=lambda record: record.name)
def test_each_image_of_the_miniature_is_of_a_row(record: Record):
    for layout in record.layouts:
        for fields in combinations(record, layout):
            used = [
                series
                for series in record.series
                if all(re.fullmatch(expression, fields[name]) for name, expression in series.where.items())
            ]
            assert used, fields


def test_windows_are_given_where_soft_tissue_would_hide_what_is_asked_for():
    """Lungs and bones are black and white in the soft-tissue window."""
    hidden = {"lung", "left lung", "right lung", "airway", "lung nodule", "lung infection", "vertebra", "hip bone"}
    mixed = {"CT-ORG", "Totalsegmentator-dataset"}  # of the whole body: no window is good for all
    for record in published_records():
        entities = {e for layout in record.layouts for file in layout.labels for e in file.entities}
        families = entities | {vocabulary()[e].family for e in entities}
        for series in record.series:
            if series.modality == "CT" and families & hidden and record.name not in mixed:
                assert series.window is not None, record.name


def test_the_page_of_all_sets_is_up_to_date():
    page = runpy.run_path(str(ROOT / "docs" / "make_sets_page.py"))["page"]()
    assert (ROOT / "docs" / "sets.md").read_text() == page, "run docs/make_sets_page.py"
