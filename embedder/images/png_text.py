"""Unpacks long texts and color profiles of a PNG, which Pillow refuses above one megabyte.

XMP and workflows of several megabytes are normal. Pillow's limit, `PngImagePlugin.MAX_TEXT_CHUNK`,
belongs to the host program.
"""

from __future__ import annotations

import zlib

PILLOW_LIMIT = 1 << 20  # bytes of a chunk, unpacked
MAX_CHUNK_BYTES = 16 << 20  # unpacked; from a larger chunk on, all is left for Pillow to refuse
MAX_TOTAL_BYTES = 64 << 20
MAX_RATIO = 1032  # of deflate
PLAIN_KINDS = {b"zTXt": b"tEXt", b"iTXt": b"iTXt"}  # packed -> plain
FIRST_CHUNK = 8  # after the signature


def unpack_long_chunks(data: bytes) -> tuple[bytes, bytes | None]:
    """Return a PNG whose long compressed texts are stored plainly, and its long color profile.

    A long profile cannot be stored plainly: its chunk is left out. Everything else stays as it is,
    also what is damaged.
    """
    pieces, profile = [], None
    start = at = FIRST_CHUNK
    remaining = MAX_TOTAL_BYTES
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        kind, body = data[at + 4 : at + 8], data[at + 8 : end - 4]
        unpacked = b""
        if kind == b"IEND":
            break
        if kind in {b"iCCP", *PLAIN_KINDS} and len(body) > PILLOW_LIMIT // MAX_RATIO:
            head, packed = _split_body(kind, body)
            limit = min(MAX_CHUNK_BYTES, remaining)
            unpacked = _inflate(packed, limit + 1)
            if len(unpacked) > limit:
                break
            remaining -= len(unpacked)
        if len(unpacked) > PILLOW_LIMIT:
            pieces.append(data[start:at])
            if kind == b"iCCP":
                profile = unpacked
            else:
                pieces.append(_make_chunk(PLAIN_KINDS[kind], head + unpacked))
            start = end
        at = end
    if start == FIRST_CHUNK:
        return data, None
    return b"".join((data[:FIRST_CHUNK], *pieces, data[start:])), profile


def _split_body(kind: bytes, body: bytes) -> tuple[bytes, bytes]:
    """What comes before the text in an uncompressed chunk of that kind, and the packed text."""
    name, _, rest = body.partition(b"\0")
    if kind != b"iTXt":
        return name + b"\0", rest[1:] if rest[:1] == b"\0" else b""
    language, _, rest_of_text = rest[2:].partition(b"\0")
    translated, _, text = rest_of_text.partition(b"\0")
    is_packed = rest[:2] == b"\1\0"
    return b"\0".join((name, b"\0" + language, translated, b"")), text if is_packed else b""


def _inflate(packed: bytes, length: int) -> bytes:
    """The first `length` bytes of zlib data; none of data that is damaged."""
    try:
        return zlib.decompressobj().decompress(packed, length)
    except zlib.error:
        return b""


def _make_chunk(kind: bytes, body: bytes) -> bytes:
    checksum = zlib.crc32(kind + body).to_bytes(4, "big")
    return len(body).to_bytes(4, "big") + kind + body + checksum
