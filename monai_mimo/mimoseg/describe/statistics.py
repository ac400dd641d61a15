"""What is in a built set, counted beside what was published.

An image counts once for each `image_id`, a mask once for each `image_id` and phrase, a sample is one row. The columns are
memory-mapped and counted by Arrow's compute functions; images are never read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import yaml
from datasets import Dataset

from ...errors import DataError
from ..catalogue import Series, find_record
from ..categories import SPLITS
from ..load import load_mimoseg

KEYS = ("source", "modality", "sequence", "perspective")
COLUMNS = [*((key, pa.string()) for key in KEYS[:3]), (KEYS[3], pa.int8()), ("image_id", pa.string())]


@dataclass(frozen=True)
class Counts:
    """How many distinct images and masks, and how many rows."""

    images: int
    masks: int
    samples: int


@dataclass(frozen=True)
class SourceCounts:
    """One row of the table of sources: images of one modality of a set that are used in the same perspectives.

    Attributes:
        sequences, entities, perspectives: those found in the built set.
        counts: of the built set.
        published_images, published_masks: of the same row of the published table; none when it has no such row.
    """

    source: str
    modality: str
    sequences: tuple[str, ...]
    entities: tuple[str, ...]
    perspectives: tuple[int, ...]
    counts: Counts
    published_images: int | None
    published_masks: int | None


@dataclass(frozen=True)
class EntityCounts:
    """In how many images an entity has a mask, and how many rows ground it."""

    entity: str
    modalities: tuple[str, ...]
    masks: int
    samples: int


@dataclass(frozen=True)
class Statistics:
    """All counts of a built set.

    Attributes:
        samples: perspective -> split -> rows; perspectives 0 and 5 only where there is one.
        modalities, entities: largest first; sources by name.
    """

    samples: dict[int, dict[str, int]]
    modalities: dict[str, Counts]
    sources: list[SourceCounts]
    entities: list[EntityCounts]
    total: Counts


@cache
def published_splits() -> dict[int, dict[str, int]]:
    """The published number of samples: perspective -> split -> rows."""
    return yaml.safe_load((resources.files(__package__) / "published_splits.yaml").read_text())


def open_splits(folder: str | Path) -> dict[str, Dataset]:
    """The splits of a built set that are there, with the decisions of its review.

    Raises:
        DataError: there is no built set.
    """
    splits = {}
    for split in SPLITS:
        try:
            splits[split] = load_mimoseg(folder, split)
        except DataError:
            if split == SPLITS[0]:
                raise
    return splits


def count_samples(splits: Mapping[str, Dataset]) -> Statistics:
    """Count the rows of each split."""
    tables = {split: rows.select_columns([*KEYS, "image_id", "entities"]) for split, rows in splits.items()}
    rows = pa.concat_tables([_rows(split, table) for split, table in tables.items()])
    masks = pa.concat_tables([_masks(table) for table in tables.values()])
    modalities = _counts(rows, masks, ["modality"])
    return Statistics(
        samples=_samples(rows),
        modalities={m: c for (m,), c in sorted(modalities.items(), key=lambda item: (-item[1].samples, item[0]))},
        sources=_sources(rows, masks),
        entities=_entities(masks),
        total=_counts(rows, masks, []).get((), Counts(0, 0, 0)),
    )


def _batches(rows: Dataset) -> list[pa.RecordBatch]:
    return rows.with_format("arrow")[:].to_batches() if len(rows) else []


def _rows(split: str, rows: Dataset) -> pa.Table:
    """One line for each row: the keys, the image and the split."""
    schema = pa.schema(COLUMNS)
    batches = [batch.select(schema.names).cast(schema) for batch in _batches(rows)]
    table = pa.Table.from_batches(batches, schema)
    return table.append_column("split", pa.array([split] * len(table), pa.string()))


def _masks(rows: Dataset) -> pa.Table:
    """One line for each mask of each row: the keys, the image and the phrase."""
    schema = pa.schema([*COLUMNS, ("phrase", pa.string())])
    batches = []
    for batch in _batches(rows):
        entities = batch.column("entities")
        owners = batch.select(schema.names[:-1]).take(pc.list_parent_indices(entities))
        phrases = pc.struct_field(pc.list_flatten(entities), "phrase")
        batches.append(pa.RecordBatch.from_arrays([*owners.columns, phrases], schema=schema))
    return pa.Table.from_batches(batches, schema)


def _samples(rows: pa.Table) -> dict[int, dict[str, int]]:
    found = rows.group_by(["perspective", "split"]).aggregate([([], "count_all")]).to_pylist()
    perspectives = sorted({1, 2, 3, 4} | {cell["perspective"] for cell in found})
    samples = {p: dict.fromkeys(SPLITS, 0) for p in perspectives}
    for cell in found:
        samples[cell["perspective"]][cell["split"]] = cell["count_all"]
    return samples


def _counts(rows: pa.Table, masks: pa.Table, by: list[str]) -> dict[tuple, Counts]:
    """Images, masks and rows for each value of the columns `by`."""
    lines = rows.group_by(by).aggregate([([], "count_all")])
    images = rows.group_by([*by, "image_id"]).aggregate([]).group_by(by).aggregate([([], "count_all")])
    distinct = masks.group_by([*by, "image_id", "phrase"]).aggregate([]).group_by(by).aggregate([([], "count_all")])
    numbers = [
        {tuple(line[key] for key in by): line["count_all"] for line in table.to_pylist()}
        for table in (images, distinct, lines)
    ]
    return {key: Counts(*(part.get(key, 0) for part in numbers)) for key in numbers[2]}


def _entities(masks: pa.Table) -> list[EntityCounts]:
    samples = _count_by(masks, ["phrase"])
    distinct = _count_by(masks.group_by(["image_id", "phrase"]).aggregate([]), ["phrase"])
    modalities: dict[str, list[str]] = {}
    for phrase, modality in sorted(_count_by(masks, ["phrase", "modality"])):
        modalities.setdefault(phrase, []).append(modality)
    order = sorted(distinct, key=lambda key: (-distinct[key], key))
    return [EntityCounts(key[0], tuple(modalities[key[0]]), distinct[key], samples[key]) for key in order]


def _count_by(table: pa.Table, by: list[str]) -> dict[tuple, int]:
    lines = table.group_by(by).aggregate([([], "count_all")]).to_pylist()
    return {tuple(line[key] for key in by): line["count_all"] for line in lines}


def _sources(rows: pa.Table, masks: pa.Table) -> list[SourceCounts]:
    """The table of sources, a line for each row of the published table that something was built of."""
    groups = {}
    for source, modality, sequence, perspective in sorted(_count_by(rows, list(KEYS))):
        series = published_series(source, modality, sequence, perspective)
        # what the catalogue does not know is a line for each modality
        group = (source, modality, "" if series is None else str(series[0]))
        groups[source, modality, sequence, perspective] = (group, series)
    numbers = {group: number for number, group in enumerate(sorted({g for g, _ in groups.values()}))}
    of_key = {key: numbers[group] for key, (group, _) in groups.items()}
    rows, masks = _with_group(rows, of_key), _with_group(masks, of_key)
    counts = _counts(rows, masks, ["group"])
    phrases = sorted(_count_by(masks, ["group", "phrase"]))
    out = []
    for group, number in numbers.items():
        members = [(key, series) for key, (g, series) in groups.items() if g == group]
        series = members[0][1]
        published = (series[1].published or {}) if series else {}
        out.append(
            SourceCounts(
                source=group[0],
                modality=group[1],
                sequences=tuple(sorted({key[2] for key, _ in members} - {""})),
                entities=tuple(phrase for n, phrase in phrases if n == number),
                perspectives=tuple(sorted({key[3] for key, _ in members})),
                counts=counts[number,],
                published_images=_number(published.get("images")),
                published_masks=_number(published.get("masks")),
            )
        )
    return out


def _number(value: int | str | None) -> int | None:
    return None if value is None else int(value)


def published_series(source: str, modality: str, sequence: str, perspective: int) -> tuple[int, Series] | None:
    """The row of the published table, with its number in the record of the set, that built rows belong to."""
    record = find_record(source)
    for number, series in enumerate(record.series if record else []):
        if (
            series.modality == modality
            and perspective in series.perspectives
            and (series.sequences is None or sequence in series.sequences)
        ):
            return number, series
    return None


def _with_group(table: pa.Table, of_key: Mapping[tuple, int]) -> pa.Table:
    """Add the column `group`: the number that `of_key` gives for the keys of a line."""
    texts = pa.array(["\t".join(map(str, key)) for key in of_key], pa.string())
    numbers = pa.array(list(of_key.values()), pa.int32())
    joined = pc.binary_join_element_wise(*(pc.cast(table.column(key), pa.string()) for key in KEYS), "\t")
    return table.append_column("group", numbers.take(pc.index_in(joined, value_set=texts)))
