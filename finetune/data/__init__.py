"""Pairs: what a model is trained and measured on, from files and from collections."""

from embedder.extras import require_extra
from finetune.data.pairs import Pair, Side

__all__ = ["Pair", "Side"]

require_extra("finetune")
