"""The families, a file each: prompts, cards, and how a checkpoint becomes an embedder."""
