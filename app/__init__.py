"""The Streamlit app on top of the indexer."""

import embedder  # noqa: F401  turns the telemetry of libraries off
