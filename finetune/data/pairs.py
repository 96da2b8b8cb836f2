"""A pair: a query, what it should find, and what it should not; and keys of their content.

Training, mining, synthesis and evaluation all work on pairs. Images are named by their paths and
opened when they are embedded.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from finetune.errors import DataError

if TYPE_CHECKING:
    from embedder.types import Input

MAX_SHORTER_SIDE = 1344  # pixels; larger images are scaled down, no model family sees more

ProgressCallback = Callable[[int, int], None]
"""Called with the number of finished items and their total."""


@dataclass(frozen=True, slots=True)
class Side:
    """A query or a document: text, the path of an image, or both.

    `instruction` tells a model that follows instructions what to look for; None is the model
    family's own. `prompt` is the row of MMEB that it is from, word for word (`Input.prompt`).
    """

    text: str | None = None
    image: str | None = None
    instruction: str | None = None
    prompt: str | None = None

    @property
    def kind(self) -> str:
        """`t`, `i`, or `it` for an image with text."""
        return "i" * bool(self.image) + "t" * bool(self.text)

    def with_instruction_of(self, document: Side) -> Side:
        """Return this side as a document that is embedded as `document` is."""
        alike = self.kind == document.kind == "i"  # another text would need another prompt
        prompt = document.prompt if alike else None
        return replace(self, instruction=document.instruction, prompt=prompt)

    def without_instruction(self) -> Side:
        """Return this side as it is embedded for a model that follows no instructions."""
        return replace(self, instruction=None, prompt=None)

    def to_input(self, shorter_side: int = MAX_SHORTER_SIDE) -> Input:
        """Convert to an embedder's input, with the image opened; raises `DataError`."""
        from embedder.images.decode import decode_image, read_file
        from embedder.types import Input
        from indexer.errors import UnusableFileError

        if not self.image:
            return Input(self.text, prompt=self.prompt)
        try:
            image = decode_image(read_file(self.image), side=shorter_side).image
        except UnusableFileError as error:
            raise DataError(f"{self.image} cannot be used: {error}") from error
        return Input(self.text, (image,), self.prompt)


@dataclass(frozen=True, slots=True)
class Pair:
    """One example.

    `item` is what it is about (an image's content, a product): pairs of one item stay on one side
    of a split and are never each other's negatives; "" if unknown. `language` is a lower-case
    BCP 47 tag. Batches are drawn from one `dataset`.
    """

    query: Side
    positive: Side
    negatives: tuple[Side, ...] = ()
    _: KW_ONLY
    language: str | None = None
    item: str = ""
    dataset: str = ""

    @property
    def direction(self) -> str:
        """`t2i`, `i2t`, `i2i`, `it2i`, `t2t`...; `it` is an image with text."""
        return f"{self.query.kind}2{self.positive.kind}"

    @property
    def image_paths(self) -> list[str]:
        """Paths of the images of the query and the positive."""
        return [side.image for side in (self.query, self.positive) if side.image]


@dataclass(frozen=True, slots=True)
class SourcePairs:
    """The pairs of one source, and how many of its items gave none, by reason."""

    pairs: Sequence[Pair]
    left_out: Counter[str] = field(default_factory=Counter)


def normalize_text(text: str) -> str:
    """Fold `text` to NFKC and lower case, with single spaces."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


class ContentKeys:
    """Keys of the content of sides. Two sides with one key are never each other's negatives.

    Text counts without case, width and spacing, an image by the bytes of its file. Instructions are
    left out. An image is read again if its file has changed. Thread-safe: at worst two threads read
    the same image.
    """

    def __init__(self) -> None:
        self._hashes: dict[str, tuple[tuple[int, int], str]] = {}

    def hash_side(self, side: Side) -> int:
        """Return a stable key of 63 bits; raises `DataError` if an image cannot be read."""
        from blake3 import blake3

        text = normalize_text(side.text) if side.text else ""
        content = self.hash_file(side.image) if side.image else ""
        digest = blake3(f"{content}\0{text}".encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:8], "big") >> 1

    def hash_file(self, path: str) -> str:
        """Return the indexer's content id of an image, BLAKE3 in hex; raises `DataError`."""
        from embedder.images.decode import read_file
        from indexer.errors import UnusableFileError
        from indexer.paths import hash_content

        try:
            status = Path(path).stat()
            stamp = (status.st_mtime_ns, status.st_size)
            cached_stamp, content = self._hashes.get(path, ((0, 0), ""))
            if cached_stamp != stamp:
                content = hash_content(read_file(path))
                self._hashes[path] = (stamp, content)
        except (OSError, UnusableFileError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise DataError(f"the image {path} cannot be read: {reason}") from None
        return content

    def item_of(self, pair: Pair) -> str:
        """Return what `pair` is about; raises `DataError`.

        That is its own item, else the content of its image (the positive's if both sides have one),
        else its positive.
        """
        if pair.item:
            return pair.item
        image = pair.positive.image or pair.query.image
        return self.hash_file(image) if image else f"{self.hash_side(pair.positive):016x}"
