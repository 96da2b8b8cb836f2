"""What the shell offers for a name, without loading a model or opening a store."""

from __future__ import annotations

import typer


def collection_names(context: typer.Context, incomplete: str) -> list[str]:
    """The collections of the store that the line names, or of the default one."""
    from indexer.config import resolve
    from indexer.meta import META

    try:
        state = resolve({"store": context.params.get("store")}).state
        return [p.parent.name for p in state.glob(f"{incomplete}*/{META}")]
    except Exception:  # a shell has no place for an error
        return []
