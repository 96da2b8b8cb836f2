"""Synthesis: training data that a multimodal language model writes about one's own pictures."""
