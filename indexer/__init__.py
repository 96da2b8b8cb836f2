"""Folders -> records -> Qdrant -> hits; owns the stores and search."""
