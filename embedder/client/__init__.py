"""Client of an OpenAI-compatible embeddings server."""
