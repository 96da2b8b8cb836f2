"""The command line program `finetune`, one module per command."""

from finetune.cli.program import app, main

__all__ = ["app", "main"]
