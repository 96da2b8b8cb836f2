"""Tokenizes prompts that contain user text.

A prompt is tokenized as a whole, because byte-pair encodings join characters across borders: for
Llama 3 ".\\n" is one token, and a text and its suffix tokenized apart would not be what the model
was trained on. Special tokens that a user's text spells are broken up first.

The instructions here are those of MMEB (https://arxiv.org/abs/2410.05160), which VLM2Vec and mmE5
were trained with, for the kinds of search here.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from embedder.errors import EmbedderError
from embedder.types import Input, Role

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TEXT_QUERY = "Find me an everyday image that matches the given caption:"
IMAGE_QUERY = "Find a day-to-day image that looks similar to the provided image."
COMPOSED_QUERY = "Given an image, find a similar everyday image with the described changes:"
IMAGE_DOCUMENT = "Represent the given image."
CAPTIONED_DOCUMENT = "Represent the given image with related text information:"
ROW_IMAGE_TOKEN = "<|image_1|>"  # in `Input.prompt` and in MMEB's rows


@dataclass(frozen=True, slots=True)
class UserText:
    """Text from a user: never a special token."""

    text: str


Prompt = Sequence[str | UserText]
"""Literal pieces, which may have special tokens, and user text."""


def default_instruction(item: Input, role: Role) -> str:
    """Return MMEB's instruction for a kind of input; a text document has none."""
    if role == "query":
        if not item.images:
            return TEXT_QUERY
        return COMPOSED_QUERY if item.text else IMAGE_QUERY
    if not item.images:
        return ""
    return CAPTIONED_DOCUMENT if item.text else IMAGE_DOCUMENT


def neutralize_special_tokens(text: str, tokens: Collection[str]) -> str:
    """Put a space in every special token that `text` spells, also in compatibility forms
    (full-width "＜image＞"), which a tokenizer's normalizer could turn into one."""
    for token in tokens:
        text = text.replace(token, f"{token[0]} {token[1:]}")
    folded = unicodedata.normalize("NFKC", text)
    if any(token in folded for token in tokens):
        return neutralize_special_tokens(folded, tokens)
    return text


def list_special_tokens(tokenizer: Tokenizer) -> dict[str, int]:
    """Return the tokenizer's special strings with their ids, longest first."""
    added = {str(t.content): i for i, t in tokenizer.get_added_tokens_decoder().items()}
    spelled = (token for token in added if len(token.strip()) > 1)
    return {token: added[token] for token in sorted(spelled, key=len, reverse=True)}


class PromptTokenizer:
    """Converts prompts to token ids. Thread-safe."""

    def __init__(self, tokenizer: Tokenizer, max_tokens: int = 0) -> None:
        """`max_tokens`: cut user text so that a prompt has no more tokens; 0: no limit."""
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self.special_tokens = list_special_tokens(tokenizer)
        self._special_ids = frozenset(self.special_tokens.values())
        self._expected_special_tokens = lru_cache(maxsize=256)(self._count_special_tokens)

    @staticmethod
    def read(folder: Path, max_tokens: int = 0) -> PromptTokenizer:
        """Load the tokenizer of a checkpoint as it was saved; raises `EmbedderError`."""
        from tokenizers import Tokenizer

        try:
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # the library raises bare Exceptions
            raise EmbedderError(
                f"{folder / 'tokenizer.json'} cannot be read ({error}); "
                "the checkpoint is incomplete"
            ) from error
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return PromptTokenizer(tokenizer, max_tokens)

    def encode(self, prompt: Prompt) -> list[int]:
        """Return the ids of the whole prompt, with a BOS if the tokenizer adds one."""
        safe = [
            p if isinstance(p, str) else neutralize_special_tokens(p.text, self.special_tokens)
            for p in prompt
        ]
        ids = self._tokenize("".join(safe))
        while 0 < self._max_tokens < len(ids):
            before, safe = safe, self._truncate_user_text(prompt, safe, len(ids) - self._max_tokens)
            if safe == before:
                break  # no user text is left to cut
            ids = self._tokenize("".join(safe))
        literal = "".join(piece for piece in prompt if isinstance(piece, str))
        if sum(i in self._special_ids for i in ids) != self._expected_special_tokens(literal):
            raise EmbedderError("the text contains a special token of the model")
        return ids

    def _tokenize(self, text: str) -> list[int]:
        try:
            ids: list[int] = self._tokenizer.encode(text).ids
        except (TypeError, UnicodeEncodeError):  # from the library
            raise EmbedderError("a text has a lone surrogate, which is not a character") from None
        return ids

    def truncate_text(self, text: str, max_tokens: int) -> str:
        """Return the first `max_tokens` tokens of user text, without special tokens."""
        safe = neutralize_special_tokens(text, self.special_tokens)
        kept = self._offsets(safe)[:max_tokens]
        return safe[: kept[-1][1]] if kept else ""

    def _truncate_user_text(self, prompt: Prompt, safe: Sequence[str], excess: int) -> list[str]:
        """Cut `excess` tokens from the end of the longest user text."""
        user_pieces = [index for index, piece in enumerate(prompt) if isinstance(piece, UserText)]
        longest = max(user_pieces, key=lambda index: len(safe[index]))
        max_tokens = max(0, len(self._offsets(safe[longest])) - excess)
        shortened = self.truncate_text(safe[longest], max_tokens)
        return [shortened if index == longest else piece for index, piece in enumerate(safe)]

    def _offsets(self, text: str) -> list[tuple[int, int]]:
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        return list(encoding.offsets)

    def _count_special_tokens(self, text: str) -> int:
        return sum(i in self._special_ids for i in self._tokenizer.encode(text).ids)
