"""Our reading of files as a reader of MONAI: what a chain of transforms loads is then what MIMO is asked about."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import PathLike
from monai.data.image_reader import ImageReader
from monai.utils.enums import MetaKeys, SpaceKeys

from .grid import Grid
from .reading import read_grid


class MedicalImageReader(ImageReader):
    """For `LoadImage` and `LoadImaged`: `LoadImaged(keys, reader=MedicalImageReader)`. It reads what `read_grid` reads: pictures,
    NIfTI, MetaImage, NRRD, TIFF, DICOM files and folders of one series.

    A volume comes as [x, y, z] in the voxels of its file, with its `affine` to RAS millimetres; a picture as [h, w] or [h, w, 3],
    upright, with the identity. Values are those of the file, after slope and intercept.

    Args:
        channel: which one of a 4-D file.
        series: which stack of a DICOM folder that holds several.

    Raises:
        InputError: of what it is given, a file cannot be read; see `read_grid`.
    """

    def __init__(self, channel: int | None = None, series: str | int | None = None) -> None:
        self.channel, self.series = channel, series

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        """True: a file of another kind is told as such when it is read."""
        return True

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> list[tuple[Grid, Path]]:
        """Read a file or folder, or several of one shape."""
        paths = [data] if isinstance(data, str | Path) else list(data)  # type: ignore[arg-type]
        return [(read_grid(path, self.channel, self.series), Path(path)) for path in paths]

    def get_data(self, img: list[tuple[Grid, Path]]) -> tuple[np.ndarray, dict[str, Any]]:
        """The values, several of them stacked along a new first axis, and what MONAI's transforms ask of an image."""
        (first, path), *_ = img
        colours = first.values.ndim == 3 and first.affine is None and not first.stack
        arrays = [grid.values for grid, _ in img]
        affine = np.eye(4) if first.affine is None else first.affine
        channel: int | float = (
            first.values.ndim - 1 if colours else float("nan")
        )  # as MONAI's readers say that there is none
        about = {
            MetaKeys.AFFINE: affine,
            MetaKeys.ORIGINAL_AFFINE: affine.copy(),
            MetaKeys.SPACE: SpaceKeys.RAS,
            MetaKeys.SPATIAL_SHAPE: np.asarray(first.values.shape[: 2 if colours else None]),
            MetaKeys.ORIGINAL_CHANNEL_DIM: channel if len(arrays) == 1 else 0,
            "modality": first.modality or "",
            "filename_or_obj": str(path),
        }
        return (arrays[0] if len(arrays) == 1 else np.stack(arrays)), about
