"""MetaImage and NRRD by SimpleITK, Analyze by nibabel: voxels as they lie in the file, and where they are in millimetres.

SimpleITK says nothing of the unit of length that a header names, and allocates what a header declares before it looks at the
size of the file; both are read from the header's lines here.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from .grid import Grid, check_size
from .nifti import chosen, part
from .nifti_header import is_affine, scaled

META, NRRD = (".mhd", ".mha"), (".nrrd", ".nhdr")
TO_MM = {"m": 1000.0, "cm": 10.0, "mm": 1.0, "um": 0.001, "nm": 1e-6}
OTHER_NAMES = {
    "": "mm", "???": "mm", "?": "mm", "none": "mm", "millimeter": "mm", "millimeters": "mm", "millimetre": "mm",
    "µm": "um", "μm": "um", "micron": "um", "microns": "um", "micrometer": "um", "micrometre": "um",
    "meter": "m", "metre": "m", "centimeter": "cm", "centimetre": "cm",
}  # fmt: skip
COLOURS = ("rgb-color", "rgba-color", "3-color", "4-color")
PATIENT_SPACES = {"left-posterior-superior", "right-anterior-superior", "left-anterior-superior", "lps", "ras", "las"}
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
LONGEST_HEADER = 2**20


@dataclass(frozen=True)
class Header:
    """The lines of a header.

    Attributes:
        lines: name, in small letters, -> value.
        length: in bytes, after which the voxels may begin.
    """

    lines: dict[str, str]
    length: int


def read_itk_volume(path: Path, channel: int | None) -> Grid:
    """A volume [x, y, z] or, in colour, [x, y, z, 3]; a file of two dimensions is a picture.

    Raises:
        InputError: it is truncated, has other dimensions, a unit of length that nobody knows, or axes that lie in a plane.
        Exception: those of the libraries, for a damaged file.
    """
    if path.name.lower().endswith(META):
        return _read(path, _meta_lines(path), "MetaImageIO", channel)
    if path.name.lower().endswith(NRRD):
        return _read(path, _nrrd_lines(path), "NrrdImageIO", channel)
    return _read_analyze(path, channel)


def _read(path: Path, header: Header, kind: str, channel: int | None) -> Grid:
    lines = header.lines
    reader = sitk.ImageFileReader()
    reader.SetImageIO(kind)
    reader.SetFileName(str(path))
    with _short_faults(path):
        reader.ReadImageInformation()
    size, name = reader.GetSize(), sitk.GetPixelIDValueAsString(reader.GetPixelIDValue())
    components = 1 if "complex" in name else reader.GetNumberOfComponents()
    if min(size) < 1:
        raise InputError(path, f"size {list(size)}", "at least one voxel")
    unit = TO_MM[_unit(path, lines)]
    _check(path, header, math.prod(size) * components * _bytes_of(name))
    if lines.get("compresseddata", "").lower() == "true":
        values = _unpacked_meta(path, header, (*(() if components == 1 else (components,)), *size), name)
    else:
        with _short_faults(path):
            values = sitk.GetArrayFromImage(reader.Execute()).T  # of several components, they come first now
    notes = []
    if values.dtype.kind == "c":
        values = np.abs(values)
        notes.append("complex values are shown by their magnitude")
    colour = components in (3, 4) and values.dtype == np.uint8 and _in_colour(lines)
    if components > 1:
        values = np.moveaxis(values, 0, -1)
    if unit != 1:
        notes.append(f"lengths are in {_unit(path, lines)} and become millimetres")
    if len(size) == 2:  # columns first
        if components > 1 and not colour:
            raise InputError(path, f"a picture of {components} channels", "grey values or colours")
        x, y = reader.GetSpacing()
        values = np.swapaxes(values, 0, 1)[..., :3] if colour else values.T
        return Grid(values, None, (y * unit, x * unit), notes=tuple(notes))
    if len(size) > 4 or (len(size) == 4 and components > 1):
        raise InputError(path, f"{len(size)} dimensions of {components} values", "three, or four of one value")
    affine = _affine(reader, unit)
    if not is_affine(affine):
        raise InputError(path, f"axes {np.round(affine[:3, :3], 3).tolist()}, which lie in a plane", "three directions")
    if kind == "NrrdImageIO" and lines.get("space", "").lower().removesuffix("-time") not in PATIENT_SPACES:
        notes.append("the header names no axes of the patient: taken for left, posterior and superior, as ITK does")
    return Grid(values[..., :3] if colour else chosen(path, values, channel), affine, notes=tuple(notes))


@contextmanager
def _short_faults(path: Path) -> Iterator[None]:
    """Of an exception of ITK, which names its source files and objects first, what it says at the end."""
    try:
        yield
    except RuntimeError as error:
        said = re.split(r"ERROR: \w+\(0x[0-9a-f]+\): |\[nrrd\] ", " ".join(str(error).split()))[-1]
        raise InputError(path, f"a file that cannot be read ({said[:200]})", "a MetaImage or NRRD file") from error


def _affine(reader: sitk.ImageFileReader, unit: float) -> np.ndarray:
    """The first three axes, RAS."""
    n = reader.GetDimension()
    lps = np.eye(4)
    lps[:3, :3] = (np.reshape(reader.GetDirection(), (n, n)) * reader.GetSpacing())[:3, :3]
    lps[:3, 3] = reader.GetOrigin()[:3]
    return LPS_TO_RAS @ scaled(lps, unit)


def _read_analyze(path: Path, channel: int | None) -> Grid:
    image = nib.load(part(path, ".img"))
    header = image.header
    shape = tuple(map(int, header.get_data_shape()))
    if len(shape) < 3 or min(shape) < 1:
        raise InputError(path, f"a file of shape {list(shape)}", "a volume")
    stored = part(path, ".img").stat().st_size - header.get_data_offset()
    check_size(path, math.prod(shape) * header.get_data_dtype().itemsize, stored, packed=False)
    slope, intercept = image.dataobj.slope, image.dataobj.inter
    values = np.asanyarray(image.dataobj.get_unscaled() if (slope, intercept) == (1, 0) else image.dataobj)
    if not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    if not is_affine(image.affine):
        raise InputError(path, f"voxel sizes {list(map(float, header.get_zooms()))}", "sizes above 0")
    note = "Analyze does not tell right from left: taken as nibabel does"
    return Grid(chosen(path, values, channel), np.asarray(image.affine, dtype=float), notes=(note,))


def _bytes_of(name: str) -> int:
    """Of one component of a pixel type in SimpleITK's words."""
    bits = next(bits for bits in (8, 16, 32, 64) if f"{bits}-bit" in name)
    return bits // 8 * (2 if "complex" in name else 1)


def _check(path: Path, header: Header, needed: int) -> None:
    """Compare what the header declares with the file that holds the voxels."""
    lines = header.lines
    meta = "elementtype" in lines
    name = lines.get("elementdatafile" if meta else "data file", lines.get("datafile", ""))
    packed = (
        lines.get("compresseddata", "").lower() == "true" if meta else lines.get("encoding", "raw").lower() != "raw"
    )
    packed |= meta and lines.get("binarydata", "true").lower() != "true"
    if name.upper() in ("", "LOCAL"):
        check_size(path, needed, path.stat().st_size - header.length, packed)
    elif name.split()[0].upper() != "LIST" and "%" not in name:
        file = path.parent / name
        if not file.is_file():
            raise InputError(path, f"no file {name!r} beside it", "the file of voxels that the header names")
        check_size(path, needed, file.stat().st_size, packed)
    else:  # a file for each slice
        check_size(path, needed, 0, packed=True)


def _unpacked_meta(path: Path, header: Header, shape: tuple[int, ...], name: str) -> np.ndarray:
    """The voxels of a compressed MetaImage, the first axis fastest. ITK returns memory as it is where the header does not say
    how many bytes they take.

    Raises:
        InputError: there are fewer than the header declares.
        Exception: zlib's, of damaged data.
    """
    lines, file = header.lines, header.lines["elementdatafile"]
    data = path.read_bytes()[header.length :] if file.upper() == "LOCAL" else (path.parent / file).read_bytes()
    order = lines.get("binarydatabyteordermsb", lines.get("elementbyteordermsb", "False")).lower()
    kind = "f" if "float" in name else "u" if "unsigned" in name else "i"
    dtype = np.dtype(f"{'>' if order == 'true' else '<'}{kind}{_bytes_of(name)}")
    needed = math.prod(shape) * dtype.itemsize
    unpacked = zlib.decompressobj(47).decompress(data, needed)  # zlib or gzip
    check_size(path, needed, len(unpacked), packed=False)
    return np.frombuffer(unpacked, dtype).astype(dtype.newbyteorder("=")).reshape(shape, order="F")


def _in_colour(lines: dict[str, str]) -> bool:
    kinds = lines.get("kinds", "").lower().split()
    return not kinds or kinds[0] in COLOURS


def _unit(path: Path, lines: dict[str, str]) -> str:
    """Of the first three axes."""
    text = lines.get("space units") or lines.get("units") or lines.get("distanceunits") or ""
    names = [name.strip() for name in text.split('"')[1::2]] if '"' in text else text.split()[:1]
    units = {OTHER_NAMES.get(name.lower(), name.lower()) for name in names[:3]} or {"mm"}
    if len(units) > 1 or not units <= TO_MM.keys():
        raise InputError(path, f"lengths in {text}", f"one of {', '.join(TO_MM)}")
    return units.pop()


def _meta_lines(path: Path) -> Header:
    """The lines of a MetaImage header.

    Raises:
        InputError: it is none, or asks for values that are to be rescaled.
    """
    lines, length = {}, 0
    with path.open("rb") as file:
        for line in file.read(LONGEST_HEADER).split(b"\n"):
            length += len(line) + 1
            name, equals, value = line.decode("latin-1").partition("=")
            if not equals or len(name) > 80:
                break
            lines[name.strip().lower()] = value.strip()
            if name.strip().lower() == "elementdatafile":
                break
    if "elementtype" not in lines or "elementdatafile" not in lines:
        raise InputError(path, "no MetaImage header", "lines of NAME = VALUE with ElementType and ElementDataFile")
    rescale = lines.get("elementtointensityfunctionslope", "1"), lines.get("elementtointensityfunctionoffset", "0")
    if tuple(map(float, rescale)) != (1, 0):
        raise InputError(
            path, f"ElementToIntensityFunction {rescale}, which ITK ignores", "values that are stored as meant"
        )
    return Header(lines, length)


def _nrrd_lines(path: Path) -> Header:
    """The fields of a NRRD header.

    Raises:
        InputError: it is none.
    """
    lines, length = {}, 4
    with path.open("rb") as file:
        if file.read(4) != b"NRRD":
            raise InputError(path, "no NRRD header", "NRRD in its first bytes")
        for raw in file.read(LONGEST_HEADER).split(b"\n"):
            length += len(raw) + 1
            line = raw.decode("utf-8", "replace").rstrip("\r")
            if not line:
                break
            name, colon, value = line.partition(": ")
            if colon:
                lines[name.strip().lower()] = value.strip()
    return Header(lines, length)
