"""The embedded store: Qdrant Edge behind a server process of its own."""
