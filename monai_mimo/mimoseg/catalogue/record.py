"""The description of one source set: where its images and labels are, what they mean, and what was published about it.

A record is a YAML file; `load_record` reads and checks it. Paths in it are patterns below the folder of the set:
`case_{patient}/imaging.nii.gz`. A field `{name}` stands for one or more characters other than `/`; `{name:regex}` says
which; `*` and `**` are wildcards as of glob. A field that stands in the patterns of an image and of its labels has the same
value in both. `{sequence}` and `{entity}` are filled from the record, any other name is the record's own; the patient is
`{patient}` unless the layout says otherwise.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...errors import DataError

Modality = Literal["CT", "MR", "PET", "X-ray", "dermoscopy", "endoscopy", "ultrasound", "fundus"]
Perspective = Annotated[int, Field(ge=1, le=4)]


class Strict(BaseModel):
    """An unknown entry is an error, so that a slip of the pen is found."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class LabelFile(Strict):
    """Where masks are and what they mean.

    Attributes:
        file: pattern.
        kind: how the file is read: a label map in any image format, a table of run-length codes, polygons, or DICOM.
        entities: entity -> what stands for it in the file: values of a label map (none: every value but 0), colours
            "#rrggbb", what fills `{entity}` in `file`, or names of structures. Several are united.
        ignored: values that are known and stand for something that is not asked for.
        optional: a missing file says that its entities are not there; otherwise it is an error.
        options: what the reader of `kind` needs besides, e.g. the columns of a table.
    """

    file: str
    kind: Literal["map", "rle_csv", "polygons_xml", "polygons_json", "dicom_seg", "rtstruct"] = "map"
    entities: dict[str, list[int | str]]
    ignored: list[int] = []
    optional: bool = False
    options: dict[str, Any] = {}


class Layout(Strict):
    """One tree in which the set is handed out.

    Attributes:
        images: pattern of the image files (of the folders, for DICOM series).
        labels: the files with masks, all of which belong to an image.
        patient: a template of fields that names the patient; frames and sequences of one patient share it.
    """

    images: str
    labels: list[LabelFile] = Field(min_length=1)
    patient: str = "{patient}"


class Window(Strict):
    """How values become grey: from `level - width / 2` to `level + width / 2`."""

    level: float
    width: float = Field(gt=0)


class Series(Strict):
    """One row of the published table: images of one modality that are used in the same perspectives.

    Attributes:
        sequences: MR or perfusion sequence -> what fills `{sequence}` in the image's pattern, or the number of its channel
            in a 4-D file. None: the images have no sequences.
        where: field -> regular expression that its whole value must match, when the layout holds other images too.
        entities: which of the labelled entities this row uses; none: all.
        perspectives: which are made of it.
        window: for these images; none: the rule of the modality.
        axis: the plane whose slices are shown.
        published: images and masks, and the labels in the words of the table.
    """

    modality: Modality
    sequences: dict[str, str | int] | None = None
    where: dict[str, str] = {}
    entities: list[str] | None = None
    perspectives: list[Perspective] = Field(min_length=1)
    window: Window | None = None
    axis: Literal["axial", "coronal", "sagittal"] = "axial"
    published: dict[Literal["images", "masks", "labels"], int | str] | None = None


class Record(Strict):
    """One source set.

    Attributes:
        name: as in the published table; aliases: other names of it, for `--source NAME=PATH`.
        title, licence, homepage, citation, obtain: in words, for people; `obtain` says what to download and unpack where.
        layouts: the first one that matches a folder is taken.
        series: rows of the published table.
        miniature: how `miniature` draws a small example of the set; see there.
    """

    name: str
    aliases: list[str] = []
    title: str
    licence: str
    homepage: str
    citation: str
    obtain: str
    layouts: list[Layout] = Field(min_length=1)
    series: list[Series] = Field(min_length=1)
    miniature: dict[str, Any] = {}


def load_record(file: Path) -> Record:
    """Read a record.

    Raises:
        DataError: it is no YAML, or an entry is missing, unknown or of the wrong kind; the error names it.
    """
    try:
        values = yaml.safe_load(file.read_text())
        return Record.model_validate(values)
    except (OSError, yaml.YAMLError) as error:
        raise DataError(file, " ".join(str(error).split()), "a YAML record of a source set") from error
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"])) or "the file"
        raise DataError(file, f"{place}: {fault['msg']}", "a record of a source set") from error


@cache
def catalogue() -> dict[str, Record]:
    """The records that come with the package, by name, in alphabetical order."""
    folder = resources.files(__package__) / "sets"
    records = [load_record(Path(str(file))) for file in folder.iterdir() if file.name.endswith(".yaml")]
    return {record.name: record for record in sorted(records, key=lambda record: record.name.casefold())}
