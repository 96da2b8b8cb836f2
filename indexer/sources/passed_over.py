"""The kinds of files that are neither images nor texts, for the report."""

from __future__ import annotations

from embedder.images.formats import get_extension

_EXTENSION_LISTS = {
    "video": "mp4 mov m4v avi mkv webm mpg mpeg mts m2ts ts 3gp 3g2 wmv flv vob mod tod insv lrv "
    "ogv mxf dv asf f4v",
    "PDF": "pdf",
    "Office document": "doc docx docm dot dotx odt ott rtf pages wpd xls xlsx xlsm xlsb ods "
    "numbers ppt pptx pptm pps ppsx odp key one vsd vsdx pub mdb accdb",
    "audio file": "mp3 m4a aac wav flac ogg oga opus wma aif aiff amr mid midi caf",
    "archive": "zip rar 7z gz tgz bz2 xz zst tar iso dmg cab jar",
    "e-book": "epub mobi azw azw3 fb2 djvu cbz cbr",
    "design file": "psd psb xcf ai eps cdr dwg dxf sketch fig indd kra clip blend afphoto",
}
KINDS = {
    extension: kind
    for kind, extensions in _EXTENSION_LISTS.items()
    for extension in extensions.split()
}
OTHER = "other file"


def classify_other(name: str) -> str:
    """Return what kind of file a name stands for that is not indexed, in the singular."""
    return KINDS.get(get_extension(name), OTHER)
