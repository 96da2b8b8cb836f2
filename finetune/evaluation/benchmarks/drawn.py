"""I2I of the E5-V paper (https://arxiv.org/abs/2407.12580): Flickr30K and COCO with the captions
drawn as images, so that a model must read. Queries and documents are both images.

Drawn as in retrieval.py of kongds/E5-V: black on white, 800 by 400 pixels, Arial 40, lines of 760
pixels that begin 20 pixels from the left, centered vertically.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from blake3 import blake3
from PIL import Image, ImageDraw, ImageFont

from finetune.data.pairs import Side
from finetune.errors import FinetuneError
from finetune.evaluation.benchmark import Benchmark
from finetune.evaluation.benchmarks import E5V, BenchmarkFiles, captions

INSTRUCTION = "Represent the given image."  # MMEB's for an image that is looked for
SIZE = (800, 400)
LEFT, LINE_WIDTH = 20, 760
FONT_SIZE = 40
METRIC_COMPATIBLE = ("Arial.ttf", "arial.ttf", "LiberationSans-Regular.ttf", "Arimo-Regular.ttf")
"""Arial, and the free fonts with the same widths, so that lines break in the same places."""


def flickr30k(files: BenchmarkFiles) -> Benchmark:
    """Flickr30K, drawn; raises `FinetuneError`."""
    return _draw_captions(captions.flickr30k(files), files)


def coco(files: BenchmarkFiles) -> Benchmark:
    """COCO, drawn; raises `FinetuneError`."""
    return _draw_captions(captions.coco(files), files)


def _draw_captions(benchmark: Benchmark, files: BenchmarkFiles) -> Benchmark:
    if files.extracted_dir is None:
        raise FinetuneError("drawn captions need a folder for the drawings")
    sides = [*(side for query in benchmark.queries for side in query.sides), *benchmark.documents]
    texts = sorted({side.text for side in sides if side.text})
    drawings = render_texts(texts, find_font(files.font), files.extracted_dir)
    paths = dict(zip(texts, drawings, strict=True))
    instruction = None if files.family == E5V else INSTRUCTION
    queries = tuple(
        replace(
            query,
            sides=_replace_texts(query.sides, paths, instruction),
            direction="i2i",
            dataset="captions ask" if query.direction == "t2i" else "pictures ask",
        )
        for query in benchmark.queries
    )
    documents = _replace_texts(benchmark.documents, paths, None)
    name = f"{benchmark.name} drawn"
    return replace(benchmark, name=name, queries=queries, documents=documents)


def _replace_texts(
    sides: Sequence[Side], paths: Mapping[str, Path], instruction: str | None
) -> tuple[Side, ...]:
    return tuple(
        Side(image=str(paths[side.text]) if side.text else side.image, instruction=instruction)
        for side in sides
    )


def find_font(path: Path | None) -> ImageFont.FreeTypeFont:
    """The font in the file `path`, or an installed font that is as wide as Arial; raises
    `FinetuneError`."""
    for name in [str(path)] if path else METRIC_COMPATIBLE:
        with suppress(OSError):
            return ImageFont.truetype(name, FONT_SIZE)
    if path:
        raise FinetuneError(f"{path} is not a readable font; give --font a .ttf file")
    raise FinetuneError(
        "captions are drawn in Arial, and neither it nor Liberation Sans is installed; install "
        "fonts-liberation, or name a font: --font FILE.ttf"
    )


def render_texts(
    texts: Sequence[str], font: ImageFont.FreeTypeFont, folder: Path
) -> Iterator[Path]:
    """Draw each text to a PNG in `folder`; existing ones are kept. Raises `OSError`."""
    folder.mkdir(parents=True, exist_ok=True)
    font_name = Path(str(font.path)).name
    for text in texts:
        name = blake3(f"{font_name}\0{text}".encode()).hexdigest(length=12)
        path = folder / f"{name}.png"
        if not path.exists():
            temporary = path.with_suffix(".part")
            render_text(text, font).save(temporary, "PNG")
            temporary.replace(path)
        yield path


def render_text(text: str, font: ImageFont.FreeTypeFont) -> Image.Image:
    """RGB, 800 by 400."""
    image = Image.new("RGB", SIZE, (255, 255, 255))
    canvas = ImageDraw.Draw(image)
    lines = wrap_text(text, font)
    boxes = [canvas.textbbox((0, 0), line, font=font) for line in lines]
    heights = [box[3] - box[1] for box in boxes]
    y: float = (SIZE[1] - sum(heights)) // 2
    for line, height in zip(lines, heights, strict=True):
        canvas.text((LEFT, y), line, font=font, fill=(0, 0, 0))
        y += height
    return image


def wrap_text(text: str, font: ImageFont.FreeTypeFont) -> list[str]:
    """Lines of at most 760 pixels, each with a space at its end, as the authors wrap them; a word
    that is too long has a line of its own."""
    lines = [""]
    for word in text.split():
        if lines[-1] and font.getlength(lines[-1] + word) > LINE_WIDTH:
            lines.append("")
        lines[-1] += word + " "
    return lines
