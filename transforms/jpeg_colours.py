"""What the colours of a JPEG are, by its own markers, where a DICOM header may say otherwise."""

from __future__ import annotations

# Markers of JPEG, ITU-T T.81, table B.1.
START = b"\xff\xd8\xff"
JFIF, ADOBE, SCAN = 0xE0, 0xEE, 0xDA
FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive


def jpeg_colours(data: bytes) -> str | None:
    """ "YBR_FULL" or "RGB", of the first picture of three components in `data`; none where nothing tells.

    As libjpeg has it: JFIF means YCbCr; an Adobe marker says which; components that are called R, G and B are these. Beyond
    libjpeg, components without such marks are YCbCr only where they are treated unlike each other: sampled or quantised.

    Args:
        data: with the start of a JPEG, which may be cut off after the header of its frame.
    """
    place = data.find(START) + 2
    while 2 <= place <= len(data) - 4 and data[place] == 0xFF and data[place + 1] != SCAN:
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        segment = data[place + 4 : place + 2 + length]
        if marker == JFIF and segment[:4] == b"JFIF":
            return "YBR_FULL"
        if marker == ADOBE and segment[:5] == b"Adobe" and len(segment) > 11:
            return "YBR_FULL" if segment[11] else "RGB"
        if marker in FRAMES:
            components = [segment[start : start + 3] for start in range(6, len(segment), 3)]
            if len(components) != 3 or len(components[-1]) < 3:
                return None
            if bytes(component[0] for component in components) == b"RGB":
                return "RGB"
            return "YBR_FULL" if components[0][1:] != components[1][1:] else None
        place += 2 + length
    return None
