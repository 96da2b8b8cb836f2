"""Model families, one file each: prompts, cards, and how a checkpoint is loaded."""
