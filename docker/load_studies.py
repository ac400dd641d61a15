"""Send DICOM files to an Orthanc: those of a folder, or phantom CTs. What it holds already stays as it is.

python load_studies.py http://127.0.0.1:8042 --secret FILE [FOLDER]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import urllib.error
import urllib.request
from base64 import b64encode
from pathlib import Path

USER = "mimo"  # as in orthanc.json


def send(url: str, password: str, folder: Path) -> int:
    """Post every .dcm file below `folder`.

    Returns:
        how many were new to the server.
    """
    new = 0
    for path in sorted(folder.rglob("*.dcm")):
        request = urllib.request.Request(f"{url}/instances", path.read_bytes(), method="POST")
        request.add_header("Authorization", "Basic " + b64encode(f"{USER}:{password}".encode()).decode())
        with urllib.request.urlopen(request, timeout=60) as response:
            new += json.load(response)["Status"] == "Success"
    return new


def draw(folder: Path, patients: int = 2) -> Path:
    """Write one phantom CT for each patient."""
    import numpy as np

    from monai_mimo.phantom.draw_volumes import draw_ct
    from monai_mimo.phantom.writer import reorient, world_affine, write_series

    for patient in range(1, patients + 1):
        rng = np.random.default_rng(patient)
        volume = draw_ct(rng)
        values, _, affine = reorient(volume, world_affine(volume, rng, oblique=False), "LPS")
        write_series(folder / str(patient), values, affine, f"CT-{patient:03d}", patient)
    return folder


def main(arguments: list[str] | None = None) -> int:
    """Status 1, and one line, if the server does not take them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="of the Orthanc")
    parser.add_argument("folder", nargs="?", type=Path, help="searched for *.dcm; without it, phantom CTs are drawn")
    parser.add_argument("--secret", type=Path, required=True, help="file with the password of its user `mimo`")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as work:
        folder = options.folder
        if folder is None:
            folder = draw(Path(work))
        try:
            new = send(options.url.rstrip("/"), options.secret.read_text().strip(), folder)
        except (urllib.error.URLError, OSError) as error:
            print(f"{options.url}: {error}; expected an Orthanc that takes DICOM files", file=sys.stderr)
            return 1
    print(f"{new} new DICOM files in {options.url}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
