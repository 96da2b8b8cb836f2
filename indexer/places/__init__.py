"""Where collections are kept: in a folder, or on a Qdrant server."""
