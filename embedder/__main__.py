"""`python -m embedder` is the console script `embedder`."""

from embedder.cli.program import main

main()
