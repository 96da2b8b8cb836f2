"""Recognizes file formats by name or by the first bytes, without an imaging library."""

from __future__ import annotations

from typing import Literal

FileKind = Literal["image", "text"]

SNIFF_BYTES = 32
"""How many of a file's first bytes `sniff_format` needs."""

EXTENSIONS_BY_FORMAT = {
    "jpeg": ("jpg", "jpeg", "jpe", "jfif", "mpo"),
    "png": ("png", "apng"),
    "webp": ("webp",),
    "gif": ("gif",),
    "tiff": ("tif", "tiff"),
    "heic": ("heic", "heif", "hif"),
    "avif": ("avif", "avifs"),
    "bmp": ("bmp", "dib"),
    "jpeg2000": ("jp2", "j2k", "jpf", "jpx", "j2c", "jpc"),
    "ico": ("ico",),
    "ppm": ("ppm", "pgm", "pbm", "pnm", "pfm"),
    "tga": ("tga",),
    "qoi": ("qoi",),
}
IMAGE_EXTENSIONS = frozenset(e for extensions in EXTENSIONS_BY_FORMAT.values() for e in extensions)
TEXT_FORMATS = {"txt": "text", "md": "markdown", "markdown": "markdown", "rst": "restructuredtext"}
RAW_EXTENSION_NAMES = (
    "3fr arw cr2 cr3 crw dcr dng erf fff iiq kdc mef mos mrw nef nrw orf pef raf rw2 rwl sr2 srf "
    "srw x3f"
)
RAW_EXTENSIONS = frozenset(RAW_EXTENSION_NAMES.split())

SVG_ADVICE = "SVG drawings are not rendered: export it as PNG"
RAW_ADVICE = "camera raw files are not developed: export it as JPEG, TIFF or HEIC"

# the first four bytes after "ftyp" in an ISO media file
ISO_BRANDS = {b"avif": "avif", b"avis": "avif", b"crx ": "raw"} | dict.fromkeys(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"),
    "heic",
)
MAGIC = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"II*\0\x10\0\0\0CR", "raw"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "tiff"),
    (b"MM\0+", "tiff"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "jpeg2000"),
    (b"\xff\x4f\xff\x51", "jpeg2000"),
    (b"\0\0\1\0", "ico"),
    (b"qoif", "qoi"),
    (b"FUJIFILMCCD-RAW", "raw"),
    (b"IIU\0", "raw"),
    (b"IIRO", "raw"),
    (b"IIRS", "raw"),
    (b"MMOR", "raw"),
    (b"FOVb", "raw"),
)


def get_extension(name: str) -> str:
    """Return the extension in lower case without its dot, or ""."""
    stem, dot, tail = name.rpartition(".")
    return tail.lower() if dot and stem else ""


def detect_kind(name: str) -> FileKind | None:
    """Return the kind that the name stands for; None if only the content can tell."""
    tail = get_extension(name)
    if tail in IMAGE_EXTENSIONS:
        return "image"
    return "text" if tail in TEXT_FORMATS else None


def unsupported_reason(name: str) -> str | None:
    """Return why files with this extension are not decoded and what to do, or None."""
    tail = get_extension(name)
    if tail in {"svg", "svgz"}:
        return SVG_ADVICE
    return RAW_ADVICE if tail in RAW_EXTENSIONS else None


def sniff_format(head: bytes) -> str | None:
    """Return the format of the first bytes: a key of `EXTENSIONS_BY_FORMAT`, "raw" or None."""
    for magic, name in MAGIC:
        if head.startswith(magic):
            return name
    if head[4:8] == b"ftyp":
        # "mif1" is any image in this container; the compatible brands that follow are specific
        general = head[8:12] in {b"mif1", b"msf1"}
        return "avif" if general and b"avi" in head[16:] else ISO_BRANDS.get(head[8:12])
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    header_size = int.from_bytes(head[14:18], "little") if len(head) >= 18 else 0  # of a BMP
    if head[:2] == b"BM" and head[6:10] == b"\0\0\0\0" and 12 <= header_size <= 200:
        return "bmp"
    if head[:1] == b"P" and head[1:2] in b"123456fF" and head[2:3].isspace():
        return "ppm"
    return None


def is_svg(data: bytes) -> bool:
    """Return whether a text file is an SVG drawing: its root element is near the beginning."""
    head = data[:4096].lstrip(b"\xef\xbb\xbf \t\r\n")
    return head.startswith(b"<") and b"<svg" in head
