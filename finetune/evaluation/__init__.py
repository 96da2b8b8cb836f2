"""Evaluation: benchmarks, metrics, and how sure one can be of them."""
