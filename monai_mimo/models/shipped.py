"""Weights of half the size, to come with the package."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from ..files import atomic_folder
from .mimo import Mimo
from .temperature import carry_temperature
from .weights import ADAPTER_WEIGHTS, CONFIG, WEIGHTS


def ship(folder: Path, out: Path) -> Path:
    """Copy a weights folder with its tensors in float16, half as large; what reads them computes in float32 all the same.

    Raises:
        WeightsError: it is no weights folder, or damaged.
    """
    Mimo.from_pretrained(folder)
    with atomic_folder(out, replace=True) as new:
        shutil.copytree(folder, new, dirs_exist_ok=True)
        for name in (WEIGHTS, ADAPTER_WEIGHTS):
            if (new / name).exists():
                tensors = load_file(new / name)
                half = {k: t.half() if t.dtype in (torch.float32, torch.bfloat16) else t for k, t in tensors.items()}
                save_file(half, new / name, metadata={"format": "pt"})
                (new / name).chmod((new / CONFIG).stat().st_mode)  # for everyone who installs the package
        carry_temperature(folder, new)
    return out
