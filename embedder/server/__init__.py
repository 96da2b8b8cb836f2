"""A loaded model as an OpenAI-compatible endpoint."""
