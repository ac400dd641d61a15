"""The temperature of a model's scores, kept beside the weights that it was fitted for."""

from __future__ import annotations

import json
import math
from pathlib import Path

from ..errors import WeightsError
from ..files import write_json
from ..models.weights import fingerprint

CALIBRATION = "calibration.json"  # in a weights folder


def save_temperature(folder: Path, temperature: float, fitted_on: str) -> None:
    """Put the temperature of the scores beside the weights in `folder`.

    Args:
        temperature: for `metrics.apply_temperature`.
        fitted_on: which answers it comes from, for whoever reads the file.
    """
    about = {"temperature": temperature, "fitted_on": fitted_on, "weights": fingerprint(folder)}
    write_json(folder / CALIBRATION, about, indent=2)


def load_temperature(folder: Path | str) -> float | None:
    """That of the weights in `folder`, if it has one. New weights have none (`save_weights` writes its folder anew), since
    training moves the scores.

    Raises:
        WeightsError: the file is damaged, or was fitted for other weights than those beside it.
    """
    file = Path(folder) / CALIBRATION
    if not file.exists():
        return None
    try:
        about = json.loads(file.read_text())
        temperature, weights = float(about["temperature"]), str(about["weights"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(file, f"{type(error).__name__}: {error}", "a temperature and its weights") from error
    if not 0 < temperature < math.inf:
        raise WeightsError(file, f"temperature {temperature}", "a number above 0")
    if weights != fingerprint(folder):
        raise WeightsError(
            file, f"fitted for {weights}", f"{fingerprint(folder)}, or no file: then scores are left as they are"
        )
    return temperature
