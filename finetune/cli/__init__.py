"""The console script `finetune`: one module a group of commands."""

from finetune.cli.program import app, main

__all__ = ["app", "main"]
