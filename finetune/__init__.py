"""Adapts an embedder to a corpus, and makes the starter head."""

import embedder  # noqa: F401  turns the telemetry of libraries off
