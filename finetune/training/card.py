"""A run's model card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from embedder.console import program_version
from embedder.types import ModelCard
from finetune.data.pairs import Pair
from finetune.evaluation.comparison import Comparison, verdict


def card(
    folder: Path,
    base: ModelCard,
    told: Mapping[str, Any],
    counts: Mapping[str, int],
    measured: Comparison | None,
) -> str:
    """Markdown. `told` is run.json, `counts` how many pairs each language has."""
    languages = ", ".join(f"{name or 'not said'} {count:,}" for name, count in counts.items())
    files = "".join(f"- `{d['path']}` (blake3 {d['blake3']})\n" for d in told.get("data", []))
    return (
        f"# {told['name']}\n\n"
        f"{_linked(base)} adapted with the preset `{told['preset']}` of Polylens "
        f"{program_version()}, {told['created'][:10]}.\n\n"
        f"- {told['pairs']:,} pairs, {told.get('steps', 0):,} steps, "
        f"{told.get('seconds', 0):,} s; all settings are in `config.yaml`\n"
        f"- pairs by language: {languages}\n"
        f"- licence of the base: {base.license}. {base.license_note}".rstrip(". ")
        + "; "
        "the data's own licences hold too\n\n"
        f"## Use\n\n```sh\nindexer reindex --model {folder}\n"
        f'indexer search "..." --model {folder}\n```\n\n'
        f"{_results(measured)}## Data\n\n{files}"
    )


def _linked(base: ModelCard) -> str:
    return f"[{base.name}]({base.source})" if base.source.startswith("https:") else base.name


def _results(measured: Comparison | None) -> str:
    if measured is None:
        return "## Results\n\nNothing was held out, so nothing was measured.\n\n"
    change = measured.overall[measured.main]
    rows = "".join(
        f"| {_name(group.direction, group.language)} | {group.queries:,} "
        f"| {_figures(group.metrics[measured.main])} |\n"
        for group in measured.groups
    )
    return (
        f"## Results\n\n{measured.main} on what was held out ({measured.benchmark.queries:,} "
        f"questions, {measured.benchmark.documents:,} documents): {verdict(change)}.\n\n"
        "| | questions | before | after | difference, 95 % interval |\n|---|---|---|---|---|\n"
        f"| all | {measured.benchmark.queries:,} | {_figures(change)} |\n{rows}\n"
    )


def _figures(change: Any) -> str:
    return (
        f"{100 * change.before:.1f} | {100 * change.after:.1f} | {100 * change.difference:+.1f} "
        f"({100 * change.low:+.1f} to {100 * change.high:+.1f})"
    )


def _name(direction: str, language: str | None) -> str:
    return " ".join(part for part in (direction, language) if part)


def counted(pairs: Sequence[Pair]) -> dict[str, int]:
    """How many pairs each language has."""
    return dict(Counter(pair.language or "" for pair in pairs).most_common())


def names(pairs: Sequence[Pair]) -> list[str]:
    """The languages of `pairs`."""
    return sorted({pair.language for pair in pairs if pair.language})
