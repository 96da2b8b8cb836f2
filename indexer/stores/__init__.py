"""Stores of points: embedded on this disk, or on a Qdrant server."""
