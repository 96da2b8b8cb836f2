"""Adapts an embedder to a corpus, and makes the starter head."""
