"""Words drawn as a picture, as the E5-V paper does (retrieval.py of kongds/E5-V): black on white,
800 by 400 pixels, Arial 40, 20 pixels from the left, 760 wide, in the middle of the height."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from finetune.errors import FinetuneError

SIZE = (800, 400)
LEFT, LINE_WIDTH = 20, 760
FONT_SIZE = 40
METRIC_COMPATIBLE = ("Arial.ttf", "arial.ttf", "LiberationSans-Regular.ttf", "Arimo-Regular.ttf")
"""Arial, and the free fonts with the same widths, so that lines break in the same places."""


def find_font(path: Path | None) -> Path:
    """The file that was named, or a font on this machine that is as wide as Arial.

    Raises `FinetuneError`.
    """
    tried = [str(path)] if path else METRIC_COMPATIBLE
    for name in tried:
        try:
            return Path(str(ImageFont.truetype(name, FONT_SIZE).path))
        except OSError:
            continue
    if path:
        raise FinetuneError(f"{path} is no font that can be read; give --font a .ttf file")
    raise FinetuneError(
        "captions are drawn in Arial, and neither it nor Liberation Sans is on this machine; "
        "install fonts-liberation, or name a font: --font FILE.ttf"
    )


def render_texts(texts: Sequence[str], font: Path, folder: Path) -> Iterator[Path]:
    """A PNG for each text in `folder`; those that are there already stay. Raises `OSError`."""
    folder.mkdir(parents=True, exist_ok=True)
    loaded = ImageFont.truetype(str(font), FONT_SIZE)
    for text in texts:
        path = folder / f"{_file_stem(text, font)}.png"
        if not path.exists():
            fresh = path.with_suffix(".part")
            render_text(text, loaded).save(fresh, "PNG")
            fresh.replace(path)
        yield path


def render_text(text: str, font: ImageFont.FreeTypeFont) -> Image.Image:
    """RGB, 800 by 400."""
    image = Image.new("RGB", SIZE, (255, 255, 255))
    canvas = ImageDraw.Draw(image)
    lines = wrap_text(text, font)
    heights = [_line_height(canvas, line, font) for line in lines]
    y: float = (SIZE[1] - sum(heights)) // 2
    for line, height in zip(lines, heights, strict=True):
        canvas.text((LEFT, y), line, font=font, fill=(0, 0, 0))
        y += height
    return image


def wrap_text(text: str, font: ImageFont.FreeTypeFont) -> list[str]:
    """Lines of at most 760 pixels, each with a blank at its end, as the authors wrap them; a word
    that is too long for a line has one for itself."""
    lines = [""]
    for word in text.split():
        if lines[-1] and font.getlength(lines[-1] + word) > LINE_WIDTH:
            lines.append("")
        lines[-1] += word + " "
    return lines


def _line_height(canvas: ImageDraw.ImageDraw, line: str, font: ImageFont.FreeTypeFont) -> float:
    box = canvas.textbbox((0, 0), line, font=font)
    return box[3] - box[1]


def _file_stem(text: str, font: Path) -> str:
    from blake3 import blake3

    return blake3(f"{font.name}\0{text}".encode()).hexdigest(length=12)
