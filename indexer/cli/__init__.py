"""The console script `indexer`: a thin face over the library, one module a group of commands."""

from indexer.cli.program import app, main

__all__ = ["app", "main"]
