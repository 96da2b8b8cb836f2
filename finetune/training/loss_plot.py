"""A run's loss over its steps, as SVG that follows the page's light or dark."""

from __future__ import annotations

from collections.abc import Sequence

WIDTH, HEIGHT, LEFT, BOTTOM = 640, 260, 56, 28  # pixels
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#555}path{fill:none;stroke:#2a6fdb;stroke-width:2}"
    "line{stroke:#8884}@media(prefers-color-scheme:dark){text{fill:#bbb}path{stroke:#7fb0ff}}"
)


def plot_loss(points: Sequence[tuple[int, float]]) -> str:
    """`points` are steps, ascending, and losses."""
    steps, losses = [s for s, _ in points] or [0], [y for _, y in points] or [0.0]
    low, high = min(losses), max(losses)
    spread, last = (high - low) or 1.0, max(steps[-1], 1)

    def x(step: int) -> float:
        return LEFT + (WIDTH - LEFT - 12) * step / last

    def y(loss: float) -> float:
        return 16 + (HEIGHT - BOTTOM - 24) * (high - loss) / spread

    path = " ".join(f"{'ML'[i > 0]}{x(s):.1f} {y(v):.1f}" for i, (s, v) in enumerate(points))
    marks = "".join(
        f'<line x1="{LEFT}" x2="{WIDTH}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>'
        f'<text x="{LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.3g}</text>'
        for value in (low, (low + high) / 2, high)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="Loss from {losses[0]:.3g} to {losses[-1]:.3g} in {last} steps">'
        f"<style>{STYLE}</style>{marks}"
        f'<text x="{LEFT}" y="{HEIGHT - 8}">step {steps[0]}</text>'
        f'<text x="{WIDTH - 12}" y="{HEIGHT - 8}" text-anchor="end">{steps[-1]}</text>'
        f'<path d="{path}"/></svg>\n'
    )
