"""`python -m indexer` is the console script `indexer`."""

from indexer.cli import main

main()
