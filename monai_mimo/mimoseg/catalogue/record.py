"""The description of one source set: where its images and labels are, what they mean, and what was published about it.

A record is a YAML file; `load_record` reads and checks it. Paths in it are patterns below the folder of the set:
`case_{patient}/imaging.nii.gz`. A field `{name}` stands for one or more characters other than `/`; `{name:regex}` says
which; `*` and `**` are wildcards as of glob. A field that stands in the patterns of an image and of its labels has the same
value in both, and its expression needs to stand in the image's pattern only. `{sequence}` and `{entity}` are filled from the
record, any other name is the record's own; the patient is `{patient}` unless the layout says otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ...errors import DataError
from ..categories import Modality
from .patterns import Pattern

Perspective = Annotated[int, Field(ge=1, le=4)]


class Strict(BaseModel):
    """An unknown entry is an error, so that a slip of the pen is found."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class LabelFile(Strict):
    """Where masks are and what they mean.

    Attributes:
        file: pattern. A file belongs to an image when the fields that both patterns have are the same; files that differ in
            other fields are united.
        kind: how the file is read; see `OPTIONS`.
        entities: entity -> what stands for it, several are united. Of a label map: its values (none: every value but 0),
            colours "#rrggbb", or, with `{entity}` in `file`, what fills it. Of a table or of polygons: names in the
            column or element of the name (none: all). Of DICOM SEG: labels or numbers of segments; of RTSTRUCT: names of
            structures.
        ignored: values of a label map, or names in a table or outlines, that are known and stand for something that is not asked
            for. Any other is an error.
        optional: a missing file says that its entities are not there; otherwise it is an error, unless the image has no
            file with labels at all: such an image is left out.
        options: what the reader of `kind` needs besides.
    """

    file: str
    kind: Literal["map", "rle_csv", "points_csv", "polygons_xml", "polygons_json", "dicom_seg", "rtstruct"] = "map"
    entities: dict[str, list[int | str]] = Field(min_length=1)
    ignored: list[int | str] = []
    optional: bool = False
    options: dict[str, Any] = {}

    @model_validator(mode="after")
    def _check(self) -> LabelFile:
        unknown = set(self.options) - set(OPTIONS[self.kind])
        if unknown:
            raise ValueError(
                f"no option {sorted(unknown)[0]!r} of kind {self.kind} (there are {sorted(OPTIONS[self.kind])})"
            )
        if self.kind == "map" and "entity" not in self.pattern().fields:
            names = [v for values in self.entities.values() for v in values if isinstance(v, str)]
            if wrong := [name for name in names if not re.fullmatch("#[0-9a-fA-F]{6}", name)]:
                raise ValueError(f"{wrong[0]!r} is not a colour, and there is no {{entity}} in {self.file!r}")
        return self

    def option(self, name: str) -> Any:
        """As the record has it, or the default of the kind."""
        return self.options.get(name, OPTIONS[self.kind][name])

    def pattern(self, fills: Mapping[str, Sequence[str]] | None = None, like: Pattern | None = None) -> Pattern:
        """`file`, where only what the entities say stands for `{entity}`; `fills` and `like` as of `Pattern`."""
        entities = [str(value) for values in self.entities.values() for value in values]
        return Pattern(self.file, {"entity": entities, **(fills or {})}, like)


# The options of each kind of label file, with their defaults (none: not used).
OPTIONS: dict[str, dict[str, Any]] = {
    # A label map in any image format. above: the mask is what lies above this value, for masks that were stored with loss;
    # below: what lies below it. tolerance: how far red, green and blue may be from a colour. agree: how many of several
    # files (readers) must agree on a pixel. channel: which one of a 4-D file. exif: of labels of pictures that are stored turned,
    # here and below, whether they lie on the pixels as "stored" or "upright"; by default, what their size tells.
    "map": {"above": None, "below": None, "tolerance": 0, "agree": 1, "channel": None, "exif": None},
    # A table with one run-length code in a row. image, rle, entity: names of columns (entity: the table holds several
    # labels). key: template of the text in column `image`, filled with the fields of the image. start: number of the first
    # pixel. relative: starts are counted from the end of the run before, as in the SIIM table. order: "columns" (down
    # first, as of Kaggle) or "rows". An empty code, or -1, is an empty mask. missing: what an image without a row is, an "error"
    # or "empty".
    "rle_csv": {
        "image": "ImageId",
        "rle": "EncodedPixels",
        "entity": None,
        "key": "{image}",
        "start": 1,
        "relative": False,
        "order": "columns",
        "missing": "error",
        "exif": None,
    },
    # A table without a header of points x, y, z and, if `value` is given, a value. x, y, z, value: numbers of the columns,
    # from 0; positions are voxels of the file. entities: values. radius: of the disc that is drawn, in pixels.
    "points_csv": {"x": 0, "y": 1, "z": 2, "value": 3, "radius": 2, "delimiter": ","},
    # region: path of the element of one polygon; name: path from there to its name; point: to its points; x, y: from a
    # point to its coordinates. A path is that of ElementTree, "@name" at its end an attribute. The defaults read LabelMe.
    "polygons_xml": {"region": ".//object", "name": "name", "point": "polygon/pt", "x": "x", "y": "y", "exif": None},
    # A COCO file is known by its annotations; its images are found by path, or by name where that is enough. In other files,
    # shapes: keys with dots between that lead to the list of polygons; name, points: keys in one. The defaults read LabelMe.
    "polygons_json": {"shapes": "shapes", "name": "label", "points": "points", "exif": None},
    "dicom_seg": {},
    "rtstruct": {},
}


class Layout(Strict):
    """One tree in which the set is handed out.

    Attributes:
        images: pattern of the image files. When no file fits it but folders do, those are DICOM series.
        labels: the files with masks, all of which belong to an image.
        patient: a template of fields that names the patient; frames and sequences of one patient share it.
    """

    images: str
    labels: list[LabelFile] = Field(min_length=1)
    patient: str = "{patient}"

    @model_validator(mode="after")
    def _check(self) -> Layout:
        missing = set(Pattern(self.patient).fields) - set(Pattern(self.images).fields)
        if missing:
            raise ValueError(f"patient: no field {{{min(missing)}}} in {self.images!r}")
        for file in self.labels:
            if file.kind == "rle_csv":
                missing = set(Pattern(file.option("key")).fields) - set(Pattern(self.images).fields)
                if missing:
                    raise ValueError(f"labels: key: no field {{{min(missing)}}} in {self.images!r}")
        return self


class Window(Strict):
    """How values become grey: from `level - width / 2` to `level + width / 2`."""

    level: float
    width: float = Field(gt=0)


class Series(Strict):
    """One row of the published table: images of one modality that are used in the same perspectives.

    Attributes:
        modality: see `modality_name`.
        sequences: MR or perfusion sequence -> what fills `{sequence}` in the image's pattern, or the number of its channel
            in a 4-D file; "" when the pattern has none, as all images are of that sequence. None: the images have no sequences.
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


class Miniature(Strict):
    """How a small example of the set is drawn, in exactly its published tree.

    Attributes:
        fields: field -> its values, each combined with each; or a list of such combinations, one by one. Fields of label
            files alone belong here too. `{sequence}` and `{entity}` fill themselves.
        wildcards: what stands for `*` and `**`.
        shape: voxels from right to left, from front to back and from foot to head; of a picture, the first two.
        spacing: in millimetres, in that order.
        axes: where the three axes of the file point to, e.g. "RAS"; for NIfTI, MetaImage, NRRD and Analyze.
        dtype: of the image; values are those of a CT when it is signed.
    """

    fields: dict[str, list[str]] | list[dict[str, str]] = {}
    wildcards: str = "x"
    shape: tuple[int, int, int] = (96, 80, 6)
    spacing: tuple[float, float, float] = (1.0, 1.0, 2.0)
    axes: str = Field(default="LPS", pattern="^[RLAPSI]{3}$")
    dtype: Literal["uint8", "int16", "uint16", "float32", "float64"] = "int16"


class Record(Strict):
    """One source set.

    Attributes:
        name: as in the published table; aliases: other names of it, for `--source NAME=PATH`.
        title, licence, homepage, citation, obtain: in words, for people; `obtain` says what to download and unpack where.
            They may be left out of a record of one's own.
        cohort: sets that hold the same patients under the same ids name one cohort, so that no patient of theirs is in two
            splits.
        layouts: the first one that matches a folder is taken.
        series: rows of the published table.
        miniature: how `mimo catalogue miniature` draws a small example of the set.
    """

    name: str
    aliases: list[str] = []
    title: str = ""
    licence: str = ""
    homepage: str = ""
    citation: str = ""
    obtain: str = ""
    cohort: str | None = Field(default=None, min_length=1)
    layouts: list[Layout] = Field(min_length=1)
    series: list[Series] = Field(min_length=1)
    miniature: Miniature = Field(default_factory=Miniature)

    @model_validator(mode="after")
    def _check(self) -> Record:
        labelled = {entity for layout in self.layouts for file in layout.labels for entity in file.entities}
        fields = {field for layout in self.layouts for field in Pattern(layout.images).fields}
        for series in self.series:
            if unknown := set(series.entities or []) - labelled:
                raise ValueError(f"series: no label file has the entity {min(unknown)!r}")
            if unknown := set(series.where) - fields:
                raise ValueError(f"series: where: no field {{{min(unknown)}}} in the patterns of images")
        return self


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


def find_record(name: str) -> Record | None:
    """The record of a set by its name or an alias; capitals, and "-", "_" and spaces, make no difference if need be."""
    return catalogue().get(name) or _by_name().get(_plain(name))


@cache
def _by_name() -> dict[str, Record]:
    """By names without the differences; the name of one set goes before the alias of another."""
    aliases = {_plain(alias): record for record in catalogue().values() for alias in record.aliases}
    return aliases | {_plain(record.name): record for record in catalogue().values()}


def _plain(name: str) -> str:
    return re.sub(r"[-_ ]+", "_", name.casefold())
