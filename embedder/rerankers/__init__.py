"""Rerankers: models that read a query and a candidate together, and say how well they fit.

A line of `FAMILIES` in `loading` per kind; what they have in common is `Reranker`.
"""
