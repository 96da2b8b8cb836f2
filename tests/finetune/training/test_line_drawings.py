"""The example's domain, on a font and a list of names of a few signs."""

from __future__ import annotations

import json

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

from bench.line_drawings import FONT, NAMES, draw_emoji, make_line_font, read_names


def square(left: int, right: int):
    pen = TTGlyphPen(None)
    corners = [(left, 0), (left, 800), (right, 800), (right, 0)]
    pen.moveTo(corners[0])
    for corner in corners[1:]:
        pen.lineTo(corner)
    pen.closePath()
    return pen.glyph()


@pytest.fixture
def font(tmp_path):
    """One sign: a red square with a black one on its right half."""
    builder = FontBuilder(1000)
    glyphs = {".notdef": square(0, 1), "cat": square(0, 800), "a": square(0, 800)}
    glyphs["b"] = square(400, 800)
    builder.setupGlyphOrder(list(glyphs))
    builder.setupCharacterMap({0x1F408: "cat"})
    builder.setupGlyf(glyphs)
    builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (800, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=0)
    builder.setupPost()
    builder.setupCOLR({"cat": [("a", 0), ("b", 1)]}, version=0)
    builder.setupCPAL([[(1.0, 0.0, 0.0, 1.0), (0.0, 0.0, 0.0, 1.0)]])
    path = tmp_path / FONT
    path.parent.mkdir(parents=True)
    builder.save(path)
    return make_line_font(tmp_path, tmp_path / "lines.ttf")


def test_only_black_parts_are_drawn(font):
    page = draw_emoji("🐈", font)
    colors = {color for _, color in page.getcolors(1 << 16)}
    assert all(red == green == blue for red, green, blue in colors)
    share = sum(n for n, color in page.getcolors(1 << 16) if color == (0, 0, 0)) / page.width**2
    assert share == pytest.approx((0.4 * 224) * (0.8 * 224) / 320**2, rel=0.03)


def test_a_sign_without_outlines(font):
    assert draw_emoji("🐕", font) is None


def test_names_of_single_signs_only(tmp_path):
    folder = tmp_path / NAMES
    folder.mkdir(parents=True)
    signs = ("🐈", "☀️", "🇫🇯", "🏽", "🐈‍⬛", "🐦")
    known = {sign: {"en": f":big_{n}:", "status": 2} for n, sign in enumerate(signs)}
    known["🐦"]["status"] = 3
    (folder / "emoji.json").write_text(json.dumps(known))
    for language in ("ar", "es", "fr", "ja", "ru", "zh", "de"):
        names_by_sign = {"🐈": ":große_katze:"} if language == "de" else {}
        (folder / f"emoji_{language}.json").write_text(json.dumps(names_by_sign))
    found = dict(read_names(tmp_path))
    assert found == {"🐈": {"en": "big 0", "de": "große katze"}, "☀": {"en": "big 1"}}
