"""The instructions of MMEB (https://arxiv.org/abs/2410.05160) that VLM2Vec and mmE5 were trained
with, for the kinds of search here."""

from __future__ import annotations

from embedder.types import Input, Role

TEXT_QUERY = "Find me an everyday image that matches the given caption:"
IMAGE_QUERY = "Find a day-to-day image that looks similar to the provided image."
COMPOSED_QUERY = "Given an image, find a similar everyday image with the described changes:"
IMAGE_DOCUMENT = "Represent the given image."
CAPTIONED_DOCUMENT = "Represent the given image with related text information:"


def default_instruction(item: Input, role: Role) -> str:
    """Return the instruction for a kind of input; a text document has none."""
    if role == "query":
        if not item.images:
            return TEXT_QUERY
        return COMPOSED_QUERY if item.text else IMAGE_QUERY
    if not item.images:
        return ""
    return CAPTIONED_DOCUMENT if item.text else IMAGE_DOCUMENT
