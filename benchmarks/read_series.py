"""Opening a DICOM series of 300 slices, beside MONAI's ITKReader, in one run: python benchmarks/read_series.py [SLICES]"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from monai.data import ITKReader

from monai_mimo.phantom.dicom_series import write_series
from monai_mimo.transforms.reading import read_grid

RUNS = 5


def by_itk(folder: Path) -> np.ndarray:
    reader = ITKReader(affine_lps_to_ras=True)
    return reader.get_data(reader.read(str(folder)))[0]


def by_headers(folder: Path) -> np.ndarray:
    return read_grid(folder).values


def seconds(read: Callable[[Path], np.ndarray], folder: Path) -> float:
    start = time.perf_counter()
    read(folder)
    return time.perf_counter() - start


def main() -> None:
    slices = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    values = np.random.default_rng(0).integers(-1000, 2000, (256, 256, slices)).astype(np.int16)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "series"
        write_series(folder, values, np.diag([0.8, 0.8, 1.5, 1.0]), "P", 0)
        np.testing.assert_array_equal(by_headers(folder)[5, 7], values[5, 7])
        times: dict[str, list[float]] = {"ITKReader": [], "read_grid": []}
        by_itk(folder)
        for _ in range(RUNS):
            times["ITKReader"].append(seconds(by_itk, folder))
            times["read_grid"].append(seconds(by_headers, folder))
    for name, measured in times.items():
        print(
            f"{name:10} {statistics.median(measured):6.2f} s  ({min(measured):.2f} to {max(measured):.2f}, {RUNS} runs)"
        )
    ratio = statistics.median(b / a for a, b in zip(times["ITKReader"], times["read_grid"]))
    print(f"ratio      {ratio:6.2f}")


if __name__ == "__main__":
    main()
