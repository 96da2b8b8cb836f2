"""What the families of vision-language models share: prompts, pictures, checkpoints."""
