"""Copies collections between stores, and to one file and back."""
