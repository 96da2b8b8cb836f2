"""Vision-language models: prompts, images and weights, shared by the families."""
