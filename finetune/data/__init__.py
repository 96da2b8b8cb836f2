"""Pairs: what a model is trained and measured on, from files and from collections."""

from finetune.data.pairs import Pair, Side

__all__ = ["Pair", "Side"]
