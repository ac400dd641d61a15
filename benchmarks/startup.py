"""How long a question takes from the command to its answer, beside `import torch` alone, in one run.

    python benchmarks/startup.py [--rounds 5]

Each round starts both processes anew, one after the other; the files are in the cache after a round that is not counted. The
image is a drawn radiograph, the weights are `lite`, which come along. Printed are the medians, and the ratio of the medians.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from monai_mimo.phantom.draw_pictures import draw_xray


def seconds(command: list[str]) -> float:
    """How long a command runs."""
    begin = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "radiograph.png"
        Image.fromarray(draw_xray(np.random.default_rng(7))[0]).save(image)
        ask = ["-m", "monai_mimo.cli", "ask", str(image), "--weights", "lite", "--question", "Where is the lung?"]
        commands = {"import torch": ["-c", "import torch"], "mimo ask": ask}
        found: dict[str, list[float]] = {name: [] for name in commands}
        for number in range(options.rounds + 1):
            for name, command in commands.items():
                took = seconds([sys.executable, *command])
                if number:
                    found[name].append(took)
    medians = {name: statistics.median(values) for name, values in found.items()}
    for name, value in medians.items():
        print(f"{name:14}{value:8.2f} s")
    print(f"{'ratio':14}{medians['mimo ask'] / medians['import torch']:8.2f}")


if __name__ == "__main__":
    main()
