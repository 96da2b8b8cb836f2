"""Formats of rows: named columns, and those of MMEB."""
