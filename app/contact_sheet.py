"""A contact sheet: one HTML page of thumbnails with their names, to be printed or kept.

The page holds all of its pictures, so that it can be saved as one file. Browsers have fonts for
names in any script, and print it as a PDF.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence
from datetime import date
from html import escape

from app.media import load_thumbnail
from indexer.types import Record

EXCERPT_LENGTH = 200  # characters of a text
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'none'"
HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
@page {{ margin: 12mm }}
body {{ font: 12px/1.35 system-ui, sans-serif; margin: 1rem; color: #111; background: #fff }}
h1 {{ font-size: 1.1rem; margin: 0 0 1rem }}
main {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(160px, 1fr)); gap: 12px }}
figure {{ margin: 0; break-inside: avoid }}
figure > :first-child {{ display: block; box-sizing: border-box; width: 100%; height: 150px;
  object-fit: contain; background: #f4f4f2; overflow: hidden; margin: 0; padding: 0 }}
blockquote {{ padding: .5rem !important }}
figcaption {{ margin-top: .25rem; overflow-wrap: anywhere; text-align: start }}
@media print {{
  main {{ grid-template-columns: repeat(4, 1fr) }}
  figure > :first-child {{ print-color-adjust: exact }}
}}
</style></head><body><h1 dir="auto">{title}</h1><main>
"""
END = "</main></body></html>\n"


def iterate_contact_sheet(collection: str, records: Sequence[Record]) -> Iterator[bytes]:
    """The bytes of the page, picture by picture."""
    title = f"{collection}, {date.today().isoformat()}"
    yield HEAD.format(title=escape(title)).encode()
    for record in records:
        yield _make_figure(collection, record).encode("utf-8", "replace")
    yield END.encode()


def _make_figure(collection: str, record: Record) -> str:
    payload = record.payload
    if payload["kind"] == "text":
        text = escape(str(payload["text"])[:EXCERPT_LENGTH])
        shown = f'<blockquote dir="auto">{text}</blockquote>'
    elif data := load_thumbnail(collection, record.id):
        shown = f'<img src="data:image/jpeg;base64,{b64encode(data).decode()}" alt="">'
    else:
        shown = "<p>gone or changed</p>"
    name = escape(str(payload["name"]))
    return f'<figure>{shown}<figcaption dir="auto">{name}</figcaption></figure>\n'
