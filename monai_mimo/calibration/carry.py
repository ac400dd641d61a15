"""Weights in another form, with the image domain and the temperature that were fitted for them: nothing else has changed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from ..files import atomic_folder
from ..models import Mimo
from ..models.weights import ADAPTER_WEIGHTS, CONFIG, WEIGHTS
from .domain import ImageDomain
from .temperature import CALIBRATION, load_temperature, save_temperature


def carry_calibration(folder: Path, out: Path) -> None:
    """Give weights in `out`, which compute what those in `folder` do, the calibration of those, if they have one."""
    temperature = load_temperature(folder)
    if temperature is not None:
        save_temperature(out, temperature, json.loads((folder / CALIBRATION).read_text()).get("fitted_on", ""))
    domain = ImageDomain.load(folder)
    if domain is not None:
        domain.save(out)


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
        carry_calibration(folder, new)
    return out
