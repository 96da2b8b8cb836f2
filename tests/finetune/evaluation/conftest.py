"""What several tests of evaluations share."""

from __future__ import annotations

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen


@pytest.fixture(scope="session")
def font(tmp_path_factory):
    """A font whose letters are blocks half an em wide, so that the tests need no installed one."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 700), (500, 700), (500, 0)):
        pen.lineTo(corner)
    pen.closePath()
    glyphs = {".notdef": TTGlyphPen(None).glyph(), "block": pen.glyph()}
    builder = FontBuilder(1000)
    builder.setupGlyphOrder(list(glyphs))
    builder.setupCharacterMap({n: ".notdef" if n == ord(" ") else "block" for n in range(32, 127)})
    builder.setupGlyf(glyphs)
    builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (500, 0)))
    builder.setupHorizontalHeader(ascent=900, descent=-200)
    builder.setupPost()
    path = tmp_path_factory.mktemp("font") / "blocks.ttf"
    builder.save(path)
    return path
