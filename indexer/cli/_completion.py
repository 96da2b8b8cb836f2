"""What the shell offers for a name, without loading a model or opening a store."""

from __future__ import annotations

import typer


def complete_collection(context: typer.Context, incomplete: str) -> list[str]:
    """The collections of the store that the line names, or of the default one."""
    from dataclasses import replace

    from indexer.config import load_config
    from indexer.places import place_of

    try:
        config = load_config({"store": context.params.get("store")})
        names = place_of(replace(config, qdrant_patience=0.0, qdrant_timeout=2.0)).names()
        return [name for name in names if name.startswith(incomplete)]
    except Exception:  # a shell has no place for an error
        return []
