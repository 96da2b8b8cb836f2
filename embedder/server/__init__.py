"""A loaded model as an OpenAI-compatible endpoint."""

from embedder.extras import require_extra

require_extra("serve")
