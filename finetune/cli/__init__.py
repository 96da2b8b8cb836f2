"""The program `finetune`: its commands, and the errors that it reports without a traceback."""

from __future__ import annotations

import sys

from embedder.cli.console import make_app, run_program
from embedder.errors import EmbedderError
from finetune.cli import evaluate, mine, pairs, synthesize, train
from finetune.errors import FinetuneError
from indexer.cli import ask_about_model_host
from indexer.errors import IndexerError

HELP = """
Adapt an embedder to your own pictures and texts, and measure the improvement.

Results go to stdout, progress to stderr. Exit status: 0 done, 1 failed, 2 wrong usage,
130 interrupted.
"""
EXAMPLES = """
Examples:

  finetune pairs --from-collection --out pairs.jsonl --split 0.2
  finetune train pairs.train.jsonl --test pairs.test.jsonl --out runs/first
  finetune evaluate pairs.test.jsonl --model runs/first
"""

app = make_app(HELP, EXAMPLES)
for command in (pairs, mine, train, evaluate, synthesize):
    app.add_typer(command.app)


def main() -> None:
    """Run the program."""
    errors = (FinetuneError, IndexerError, EmbedderError)
    sys.exit(run_program(app, "finetune", errors, should_retry=ask_about_model_host))
