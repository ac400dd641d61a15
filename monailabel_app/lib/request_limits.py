"""How much a request may ask for. Each can be set by `--conf NAME VALUE` when the server is started."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import nibabel as nib

from monai_mimo.errors import InputError


@dataclass(frozen=True)
class Limits:
    """Attributes:
    max_question: characters of a question.
    max_points: points of one request, positive and negative together.
    max_labels: names in one request.
    max_voxels: of an image.
    max_image_mb: of the file or folder that holds an image.
    max_params_kb: of the JSON of a request.
    max_request_mb: of a whole request, with what is uploaded.
    """

    max_question: int = 1000
    max_points: int = 64
    max_labels: int = 64
    max_voxels: int = 1 << 30
    max_image_mb: int = 2048
    max_params_kb: int = 256
    max_request_mb: int = 1024

    @classmethod
    def from_conf(cls, conf: Mapping[str, str]) -> Limits:
        """Those that `conf` names, and the others as they are.

        Raises:
            InputError: a value is no positive whole number.
        """
        return cls(**{f.name: whole_number(conf, f.name) for f in fields(cls) if f.name in conf})

    def check_file(self, path: Path) -> None:
        """Refuse before reading what would not fit into memory.

        Raises:
            InputError: the file, the folder or the voxels it declares are too many.
        """
        files = [path] if path.is_file() else [f for f in path.iterdir() if f.is_file()] if path.is_dir() else []
        megabytes = math.ceil(sum(f.stat().st_size for f in files) / 2**20)
        if megabytes > self.max_image_mb:
            raise InputError("image", f"{megabytes} MB", f"at most {self.max_image_mb} MB (max_image_mb)")
        if path.name.lower().endswith((".nii", ".nii.gz")):
            try:
                voxels = math.prod(int(n) for n in nib.load(path).shape)
            except Exception:
                return  # reading it will say what is wrong
            self.check_voxels(voxels)

    def check_voxels(self, voxels: int) -> None:
        """Raises:
        InputError: these are too many.
        """
        if voxels > self.max_voxels:
            raise InputError("image", f"{voxels} voxels", f"at most {self.max_voxels} (max_voxels)")


def whole_number(conf: Mapping[str, str], name: str, least: int = 1) -> int:
    """A setting as a number.

    Raises:
        InputError: it is none, or is below `least`.
    """
    text = str(conf[name]).strip()
    if not text.isdecimal() or int(text) < least:
        raise InputError(f"--conf {name}", repr(text), f"a whole number, {least} or more")
    return int(text)
