"""`python -m finetune` is the console script `finetune`."""

from finetune.cli import main

main()
