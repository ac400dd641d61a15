"""A program that decodes compressed DICOM files for `dicom_pixels`, apart from the process that asked for them.

GDCM ends its process where a JPEG is damaged enough, takes the sizes that a codestream claims at their word, and has no limit of
time. As a child it can be limited, and what becomes of it is an error like any other. It imports nothing of this package, and so
starts in a fraction of a second.

Input, one JSON object: {"files": [path], "folder": where file n goes as n.npy, "bytes": of memory, "seconds": of the processor}.
Output, a line of JSON for each file: null, or why it could not be decoded.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pydicom
import pydicom.encaps

JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"


def main() -> None:
    """Decode what standard input asks for."""
    asked = json.load(sys.stdin)
    _limit(asked["bytes"], asked["seconds"])
    for number, file in enumerate(asked["files"]):
        try:
            dataset = pydicom.dcmread(file, force=True)
            if hasattr(dataset, "pixel_array_options"):  # pydicom 3
                dataset.pixel_array_options(raw=True)
            elif (count := int(dataset.get("NumberOfFrames") or 1)) > 1:  # pydicom 2 takes each fragment for a frame
                frames = list(pydicom.encaps.generate_pixel_data_frame(dataset.PixelData, count))
                dataset.PixelData = pydicom.encaps.encapsulate(frames, has_bot=False)
            twelve = dataset.file_meta.TransferSyntaxUID == JPEG_EXTENDED and dataset.BitsStored > 8
            pixels = _by_gdcm(file, dataset) if twelve else dataset.pixel_array
            np.save(Path(asked["folder"]) / f"{number}.npy", pixels)
            said = None
        except Exception as error:
            said = f"{type(error).__name__}: {error}"[:300]
        print(json.dumps(said), flush=True)


def _by_gdcm(file: str, dataset: pydicom.Dataset) -> np.ndarray:
    """JPEG of 12 bits, which pydicom 3 does not pass on to GDCM."""
    import gdcm

    reader = gdcm.ImageReader()
    reader.SetFileName(file)
    if not reader.Read():
        raise ValueError("GDCM cannot read it")
    data = reader.GetImage().GetBuffer().encode("utf-8", errors="surrogateescape")
    return np.frombuffer(data, np.int16 if dataset.PixelRepresentation else np.uint16)


def _limit(memory: int, seconds: int) -> None:
    try:
        import resource
    except ImportError:  # not on Windows
        return
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main()
