"""The tables of bench.embed, from its figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.report import render_table

KINDS = {"texts": "captions", "images": "pictures", "composed": "both"}
NOTE = """\
Random weights, {numbers}. Ours, then the recipe of the authors' READMEs on the same model, at the
same resolution, in turns; medians. The recipe pads eight inputs in the order of the corpus and runs
the language head, but for Qwen3-VL-Embedding and SigLIP 2, whose authors run none. Before anything
was timed, both gave the same vectors: `cosine` is the lowest between the two ways, and for
comparison `nearest` is the highest between two different inputs. MFU is the share of the device's
peak that went into operations that are needed, padding not among them; "-" where the peak is not
known. `of 2,500` is ours in one call of 2,000 captions and 500 photographs, half with words too.
`fed` is the share of the time in which our device had work waiting, at the least."""
Json = dict[str, Any]


def render_body(figures: Sequence[Json]) -> str:
    """What was measured, speed, and what it cost."""
    speed = [[one["family"], *_speed_cells(one)] for one in figures]
    head = ["family"]
    for name in KINDS.values():
        head += [f"{name}/s", "recipe", "times"]
    costs = [[one["family"], *_cost_cells(one)] for one in figures]
    labels = [
        "family",
        "tokens/s",
        "padding",
        "of 2,500",
        "MFU",
        "peak MB",
        "CPU s",
        "fed",
        "cosine",
        "nearest",
    ]
    note = NOTE.format(numbers=figures[0]["dtype"])
    parts = [note, render_table(head, speed), render_table(labels, costs)]
    fed = [[one["family"], *_ingest_cells(one["ingest"])] for one in figures if "ingest" in one]
    if fed:
        parts.append(
            render_table(["ingest, in batches of 32", "pictures/s", "fed", "nvidia-smi"], fed)
        )
    return "\n\n".join(parts)


def _speed_cells(one: Json) -> list[str]:
    cells = []
    for kind in KINDS:
        found = one["kinds"][kind]
        ours, theirs = (found["count"] / found[way]["seconds"] for way in ("ours", "reference"))
        cells += [_format_number(ours), _format_number(theirs), f"{ours / theirs:.2f}"]
    return cells


def _cost_cells(one: Json) -> list[str]:
    kinds = list(one["kinds"].values())
    padding = _mean_padding(kinds, "padding"), _mean_padding(kinds, "reference_padding")
    ways = ("ours", "reference")
    seconds = [sum(found[way]["seconds"] for found in kinds) for way in ways]
    tokens, flops = (sum(found[name] for found in kinds) for name in ("tokens", "flops"))
    used = [f"{100 * flops / took / one['peak']:.0f}%" for took in seconds if one["peak"]]
    memory = [max(found[way]["memory"] for found in kinds) for way in ways]
    cpu = [sum(found[way]["cpu"] for found in kinds) for way in ways]
    fed = sum(found["ours"]["fed"] * found["ours"]["seconds"] for found in kinds) / seconds[0]
    return [
        " / ".join(_format_number(tokens / took) for took in seconds),
        " / ".join(f"{100 * share:.1f}%" for share in padding),
        f"{100 * one['mixed']:.1f}%",
        " / ".join(used) or "-",
        " / ".join(f"{most:.0f}" for most in memory),
        " / ".join(f"{spent:.1f}" for spent in cpu),
        f"{100 * fed:.0f}%",
        f"{one['cosine']:.6f}",
        f"{one['nearest']:.4f}",
    ]


def _mean_padding(kinds: Sequence[Json], name: str) -> float:
    """Padding as a share of all tokens that are computed, over the kinds."""
    computed = [found["tokens"] / (1 - found[name]) for found in kinds]
    return 1 - sum(found["tokens"] for found in kinds) / sum(computed)


def _ingest_cells(found: Json) -> list[str]:
    seen = "-" if found["busy"] is None else f"{100 * found['busy']:.0f}%"
    return [_format_number(found["images"] / found["seconds"]), f"{100 * found['fed']:.0f}%", seen]


def _format_number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
