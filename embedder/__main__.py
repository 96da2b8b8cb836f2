"""`python -m embedder` is the console script `embedder`."""

from embedder.cli import main

main()
