"""Qdrant servers: connection, retries, schema, profiles, points."""
