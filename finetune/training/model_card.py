"""A run's model card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from embedder.cli.console import get_version
from embedder.types import ModelCard
from finetune.data.pairs import Pair
from finetune.evaluation.comparison import Comparison, describe_verdict


def render_model_card(
    folder: Path,
    base: ModelCard,
    metadata: Mapping[str, Any],
    counts: Mapping[str, int],
    comparison: Comparison | None,
) -> str:
    """Markdown. `told` is run.json, `counts` how many pairs each language has."""
    languages = ", ".join(f"{name or 'not said'} {count:,}" for name, count in counts.items())
    files = "".join(f"- `{d['path']}` (blake3 {d['blake3']})\n" for d in metadata.get("data", []))
    return (
        f"# {metadata['name']}\n\n"
        f"{_link_base(base)} adapted with the preset `{metadata['preset']}` of Polylens "
        f"{get_version()}, {metadata['created'][:10]}.\n\n"
        f"- {metadata['pairs']:,} pairs, {metadata.get('steps', 0):,} steps, "
        f"{metadata.get('seconds', 0):,} s; all settings are in `config.yaml`\n"
        f"- pairs by language: {languages}\n"
        f"- licence of the base: {base.license}. {base.license_note}".rstrip(". ")
        + "; "
        "the data's own licences hold too\n\n"
        f"## Use\n\n```sh\nindexer reindex --model {folder}\n"
        f'indexer search "..." --model {folder}\n```\n\n'
        f"{_render_results(comparison)}## Data\n\n{files}"
    )


def _link_base(base: ModelCard) -> str:
    return f"[{base.name}]({base.source})" if base.source.startswith("https:") else base.name


def _render_results(comparison: Comparison | None) -> str:
    if comparison is None:
        return "## Results\n\nNothing was held out, so nothing was measured.\n\n"
    change = comparison.overall[comparison.main]
    rows = "".join(
        f"| {_group_label(group.direction, group.language)} | {group.queries:,} "
        f"| {_format_change(group.metrics[comparison.main])} |\n"
        for group in comparison.groups
    )
    return (
        f"## Results\n\n{comparison.main} on what was held out ({comparison.benchmark.queries:,} "
        f"questions, {comparison.benchmark.documents:,} documents): {describe_verdict(change)}.\n\n"
        "| | questions | before | after | difference, 95 % interval |\n|---|---|---|---|---|\n"
        f"| all | {comparison.benchmark.queries:,} | {_format_change(change)} |\n{rows}\n"
    )


def _format_change(change: Any) -> str:
    return (
        f"{100 * change.before:.1f} | {100 * change.after:.1f} | {100 * change.difference:+.1f} "
        f"({100 * change.low:+.1f} to {100 * change.high:+.1f})"
    )


def _group_label(direction: str, language: str | None) -> str:
    return " ".join(part for part in (direction, language) if part)


def count_languages(pairs: Sequence[Pair]) -> dict[str, int]:
    """How many pairs each language has."""
    return dict(Counter(pair.language or "" for pair in pairs).most_common())


def list_languages(pairs: Sequence[Pair]) -> list[str]:
    """The languages of `pairs`."""
    return sorted({pair.language for pair in pairs if pair.language})
