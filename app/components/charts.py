"""The Quality page's charts: bars with intervals, and a loss curve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from altair import Chart, LayerChart

COLORS = {"before": "#a8a29e", "after": "#0d9488"}  # legible on light and on dark
WHISKER_COLORS = {False: "#57534e", True: "#f5f5f4"}  # on light, on dark
SMOOTHING = 40  # a mean reaches over one of so many parts of the curve to either side


@dataclass(frozen=True, slots=True)
class Bar:
    """A value of 0..100 with its interval; `name` is its row, `when` is before or after."""

    name: str
    when: str
    value: float
    low: float
    high: float
    queries: int


def draw_bars(shown: Sequence[Bar], metric: str, dark: bool) -> LayerChart:
    """A row a name, with a bar before and one after, each with its interval."""
    import altair as alt

    names = list(dict.fromkeys(bar.name for bar in shown))
    whens = [when for when in COLORS if any(bar.when == when for bar in shown)]
    base = alt.Chart(alt.InlineData(values=[asdict(bar) for bar in shown])).encode(
        y=alt.Y("name:N", sort=names, title=None, axis=alt.Axis(ticks=False, domain=False)),
        yOffset=alt.YOffset("when:N", sort=whens),
        tooltip=[
            alt.Tooltip("name:N", title="group"),
            alt.Tooltip("when:N"),
            alt.Tooltip("value:Q", title=metric, format=".1f"),
            alt.Tooltip("low:Q", title="from", format=".1f"),
            alt.Tooltip("high:Q", title="to", format=".1f"),
            alt.Tooltip("queries:Q", format=","),
        ],
    )
    tones = alt.Scale(domain=whens, range=[COLORS[when] for when in whens])
    legend = alt.Legend(orient="top", title=None) if len(whens) > 1 else None
    filled = base.mark_bar(cornerRadiusEnd=3).encode(
        x=alt.X("value:Q", title=f"{metric}, of 100", scale=alt.Scale(domain=_axis_range(shown))),
        color=alt.Color("when:N", scale=tones, legend=legend),
    )
    whiskers = base.mark_rule(color=WHISKER_COLORS[dark], strokeWidth=1.5).encode(
        x="low:Q", x2="high:Q"
    )
    layers: LayerChart = (filled + whiskers).properties(height=alt.Step(15, **{"for": "offset"}))
    return layers


def _axis_range(shown: Sequence[Bar]) -> tuple[float, float]:
    """From 0, or below where a correlation is, to what the highest interval needs."""
    low, high = min(0.0, *(b.low for b in shown)), max(*(b.high for b in shown), 1.0)
    return low, 100.0 if high > 50 else high * 1.05


def draw_curve(points: Sequence[tuple[int, float]]) -> Chart | LayerChart:
    """Loss by step: each point faintly, and their moving mean."""
    import altair as alt

    rows = [{"step": step, "loss": loss} for step, loss in points]
    reach = len(points) // SMOOTHING
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        x=alt.X("step:Q", axis=alt.Axis(format=",d", grid=False, tickMinStep=1)),
        tooltip=[alt.Tooltip("step:Q", format=","), alt.Tooltip("loss:Q", format=".4f")],
    )
    y = alt.Scale(zero=False)
    raw = base.mark_line(opacity=0.35, strokeWidth=1, color=COLORS["after"]).encode(
        y=alt.Y("loss:Q", scale=y)
    )
    smooth = (
        base.transform_window(mean="mean(loss)", frame=[-reach, reach])
        .mark_line(strokeWidth=2.5, color=COLORS["after"])
        .encode(y=alt.Y("mean:Q", title="loss"))
    )
    layers: LayerChart = (raw + smooth).properties(height=280)
    return layers
