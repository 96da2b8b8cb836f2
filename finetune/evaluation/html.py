"""What reports have in common as HTML: one file with its style, plots and pictures in it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from functools import lru_cache
from html import escape
from io import BytesIO

from finetune.evaluation.query_results import DocumentRef

THUMBNAIL_SIDE = 112  # pixels of a thumbnail
JPEG_QUALITY = 70

STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --quiet: #687076; --line: #d7dbdf;
  --bar: #5b8def; --good: #2a9d66; --bad: #d9503f; --paper: #fff; }
@media (prefers-color-scheme: dark) { :root { --ink: #ecedee; --quiet: #9ba1a6; --line: #3a3f42;
  --bar: #6f9cf5; --good: #46b883; --bad: #f0705f; --paper: #16181a; } }
@media print { :root { --ink: #000; --quiet: #444; --line: #bbb; --paper: #fff; }
  section, article, tr { break-inside: avoid; } }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
p.quiet, .quiet, figcaption { color: var(--quiet); fill: var(--quiet); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .75rem .25rem 0; text-align: left; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
td.number, th.number { text-align: right; }
svg.bars { max-width: 100%; height: auto; font-size: 12px; margin: .5rem 0 1rem; display: block; }
svg text { fill: var(--ink); } svg .title { font-weight: 600; } svg tspan.quiet {
  fill: var(--quiet); }
svg rect.plain { fill: var(--bar); } svg rect.before { fill: var(--quiet); }
svg rect.good { fill: var(--good); } svg rect.bad { fill: var(--bad); }
svg .whisker { stroke: var(--ink); fill: none; } svg .axis { stroke: var(--line); }
article { border: 1px solid var(--line); border-radius: 8px;
  padding: .75rem 1rem; margin: .75rem 0; }
article > p { margin: 0 0 .5rem; }
.row { display: flex; flex-wrap: wrap; gap: .5rem; align-items: flex-start; }
figure { margin: 0; width: 116px; font-size: 12px; line-height: 1.3; }
figure img { max-width: 112px; max-height: 112px; display: block; border-radius: 4px; }
figure .words { max-height: 6.5em; overflow: hidden; overflow-wrap: anywhere; }
figure.right img, figure.right .words { outline: 3px solid var(--good); outline-offset: 1px; }
"""


def render_page(title: str, body: str) -> str:
    """A whole document. `title` is escaped here, `body` is HTML."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n"
        f"<body>{body}</body></html>\n"
    )


def render_table(head: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> str:
    """Cells are escaped; the first `words` columns are words, the others numbers."""

    def cells(tag: str, row: Sequence[str]) -> str:
        return "".join(
            f"<{tag}{' class=number' if place >= words else ''}>{escape(cell)}</{tag}>"
            for place, cell in enumerate(row)
        )

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return (
        f'<div class="scroll"><table><thead><tr>{cells("th", head)}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def render_markdown_table(
    head: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1
) -> str:
    """The same as Markdown."""
    border = ["---"] * words + ["---:"] * (len(head) - words)
    lines = [head, border, *rows]
    return "".join("| " + " | ".join(map(escape_markdown, line)) + " |\n" for line in lines)


def escape_markdown(text: str) -> str:
    """`text` on one line, nothing in it read as Markdown or HTML."""
    plain = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return plain.replace("\\", "\\\\").replace("|", "\\|").replace("`", "\\`")


def render_figure(ref: DocumentRef, note: str = "", right: bool = False) -> str:
    """A document or query as a figure: its picture small, its words, a note below."""
    words = ref["text"] or ""
    picture = ""
    if ref["image"]:
        data = encode_thumbnail(ref["image"])
        picture = (
            f'<img src="{data}" alt="{escape(words or ref["image"])}">'
            if data
            else (f'<div class="words quiet">{escape(ref["image"])}</div>')
        )
    text = f'<div class="words">{escape(words)}</div>' if words else ""
    caption = f"<figcaption>{escape(note)}</figcaption>" if note else ""
    return f"<figure{' class=right' if right else ''}>{picture}{text}{caption}</figure>"


@lru_cache(maxsize=512)
def encode_thumbnail(path: str) -> str | None:
    """A data URL of a small JPEG; None where the picture cannot be read any more."""
    from embedder.images.decode import decode_image, read_file
    from indexer.skip_reasons import UnusableFileError

    try:
        image = decode_image(read_file(path), side=THUMBNAIL_SIDE).image
    except UnusableFileError:
        return None
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return "data:image/jpeg;base64," + b64encode(buffer.getvalue()).decode()
