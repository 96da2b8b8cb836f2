"""Bars with intervals as SVG: text stays text, and colours follow the page's light or dark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

ROW, BAR = 22, 12  # pixels
NAMES, PLOT, VALUES = 190, 420, 150


@dataclass(frozen=True, slots=True)
class Bar:
    """A named value with its interval; `tone` is a class of the page's style."""

    name: str
    value: float
    low: float
    high: float
    tone: str = "plain"


def render_bars(title: str, shown: Sequence[Bar], *, percent: bool = True) -> str:
    """Horizontal bars, from 0, or from the lowest end of an interval where that is below."""
    least = min(0.0, *(bar.low for bar in shown)) if shown else 0.0
    most = max(*(bar.high for bar in shown), *(bar.value for bar in shown), 1e-9)
    most = 1.0 if percent and least == 0 and most > 0.5 else most * 1.05
    height = ROW * len(shown) + 24
    body = "".join(_render_bar(place, bar, least, most, percent) for place, bar in enumerate(shown))
    zero = _x(0.0, least, most)
    width = NAMES + PLOT + VALUES
    return (
        f'<svg class="bars" role="img" viewBox="0 0 {width} {height}" width="{width}" '
        f'aria-label="{escape(title)}"><text class="title" x="0" y="14">{escape(title)}</text>'
        f'<line class="axis" x1="{zero}" x2="{zero}" y1="20" y2="{height}"/>{body}</svg>'
    )


def _render_bar(place: int, bar: Bar, least: float, most: float, percent: bool) -> str:
    top, middle = 24 + place * ROW, 24 + place * ROW + BAR / 2
    zero, end = _x(0.0, least, most), _x(bar.value, least, most)
    low, high = _x(bar.low, least, most), _x(bar.high, least, most)
    value = format_value(bar.value, percent)
    span = f"{format_value(bar.low, percent)} to {format_value(bar.high, percent)}"
    return (
        f'<text x="{NAMES - 8}" y="{middle + 4}" text-anchor="end">{escape(bar.name)}</text>'
        f'<rect class="{escape(bar.tone)}" x="{min(zero, end):.1f}" y="{top}" '
        f'width="{abs(end - zero):.1f}" height="{BAR}" rx="2"/>'
        f'<path class="whisker" d="M{low:.1f} {middle}H{high:.1f}M{low:.1f} {middle - 4}v8'
        f'M{high:.1f} {middle - 4}v8"/>'
        f'<text x="{NAMES + PLOT + 8}" y="{middle + 4}">{value}'
        f'<tspan class="quiet"> {span}</tspan></text>'
    )


def format_value(value: float, percent: bool = True) -> str:
    """0.4321 -> 43.2; as it is where it is no share."""
    return f"{100 * value:.1f}" if percent else f"{value:.3f}"


def _x(value: float, least: float, most: float) -> float:
    return NAMES + PLOT * (value - least) / (most - least)
