"""Sentence_transformer."""
