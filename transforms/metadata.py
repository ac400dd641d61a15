"""PNG and JPEG files without what they say beside their pixels: no EXIF, no place, camera, author, comment or thumbnail. The
pixels stay bit by bit."""

from __future__ import annotations

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
KEPT_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")  # of the PNG specification, what decoding needs
# Markers of JPEG, ITU-T T.81, table B.1.
SCAN, END = 0xDA, 0xD9
ALONE = (0x01, *range(0xD0, 0xD8))  # without a length
JFIF, ADOBE, COMMENT = 0xE0, 0xEE, 0xFE  # JFIF and Adobe tell how colours are coded
OTHER_APPLICATIONS = set(range(0xE0, 0xF0)) - {JFIF, ADOBE}


def without_metadata(data: bytes) -> bytes | None:
    """The file in `data` with its pixels alone; none when it is no PNG or JPEG, or is damaged."""
    try:
        if data[:8] == PNG:
            return _plain_png(data)
        return _plain_jpeg(data) if data[:2] == JPEG else None
    except (IndexError, ValueError):  # it ends too early
        return None


def _plain_png(data: bytes) -> bytes | None:
    out, place = [PNG], 8
    while place + 12 <= len(data):
        end = place + 12 + int.from_bytes(data[place : place + 4], "big")
        name = data[place + 4 : place + 8]
        if end > len(data):
            return None
        if name in KEPT_CHUNKS:
            out.append(data[place:end])
        if name == b"IEND":
            return b"".join(out)
        place = end
    return None


def _plain_jpeg(data: bytes) -> bytes | None:
    out, place = [JPEG], 2
    while True:
        if data[place] != 0xFF:
            return None
        while data[place + 1] == 0xFF:  # fill bytes
            place += 1
        marker = data[place + 1]
        if marker == END:
            return b"".join([*out, b"\xff\xd9"])
        end = place + 2 if marker in ALONE else place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        if marker == SCAN:
            end = _end_of_scan(data, end)
        if marker != COMMENT and marker not in OTHER_APPLICATIONS:
            segment = data[place:end]
            out.append(_without_thumbnail(segment) if marker == JFIF else segment)
        place = end


def _end_of_scan(data: bytes, place: int) -> int:
    """Where the next marker is; a 0xFF of the coded data is followed by 0, and restarts belong to it."""
    while True:
        place = data.index(b"\xff", place)
        following = data[place + 1]
        if following != 0 and following != 0xFF and following not in ALONE:
            return place
        place += 1 if following == 0xFF else 2


def _without_thumbnail(segment: bytes) -> bytes:
    """APP0: only the fields of JFIF, and no extension of it."""
    if segment[4:9] != b"JFIF\0" or len(segment) < 18:
        return b""
    return b"\xff\xe0" + (16).to_bytes(2, "big") + segment[4:16] + b"\0\0"
