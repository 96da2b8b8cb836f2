"""Synthesis: training data that a multimodal language model writes about one's own pictures."""

from embedder.extras import require_extra

require_extra("finetune")
