"""Weights for the end-to-end tests: given ones, or a `nano` model that a minute of training has taught a few phantom CTs.

It learns the very images it is asked about, and little of them: the test is of the way from a box to a saved mask, not of
the model.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from monai_mimo.phantom import write_phantom

ROOT = Path(__file__).resolve().parents[2]


def phantom_ct(folder: Path) -> Path:
    """A phantom of which only the CTs are listed; the second of its three patients is a DICOM series."""
    phantom = write_phantom(folder, patients=3, progress=False)
    about = json.loads((phantom / "phantom.json").read_text())
    about["cases"] = [case for case in about["cases"] if case["modality"] == "CT"]
    about["modalities"] = {"CT": about["modalities"]["CT"]}
    (phantom / "phantom.json").write_text(json.dumps(about))
    return phantom


def weights(phantom: Path, work: Path) -> Path:
    """MIMO_E2E_WEIGHTS when set; else trained now."""
    if given := os.environ.get("MIMO_E2E_WEIGHTS"):
        return Path(given)
    mimo = [sys.executable, "-m", "monai_mimo.cli"]
    build = [*mimo, "build", "--source", f"phantom={phantom}", "--perspectives", "1,2", "--split", "100:0:0"]
    run([*build, "--out", str(work / "dataset")], work)
    train = [sys.executable, "-m", "monai.bundle", "run", "training", "--bundle_root", str(ROOT / "bundles/mimo")]
    train += [
        "--config_file",
        str(ROOT / "bundles/mimo/configs/train.yaml"),
        "--preset",
        "nano",
        "--output_dir",
        str(work),
    ]
    train += [
        "--dataset_dir",
        str(work / "dataset"),
        "--epochs",
        "3",
        "--steps_per_epoch",
        "100",
        "--validate_every",
        "3",
    ]
    train += ["--all_validation_rows", "@all_train_rows", "--validation_images", "4"]
    run(train, work)
    return work / "weights"


def run(command: list[str], work: Path) -> None:
    """Run, with the output in a file that the error names."""
    work.mkdir(parents=True, exist_ok=True)
    log = work / "commands.log"
    with open(log, "a") as file:
        done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{log.read_text()[-3000:]}")
