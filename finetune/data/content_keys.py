"""What a side says, as a number: two sides of one content are never each other's negatives.

A text is what remains of it without differences of case, width and blanks; a picture is its
file's bytes, whatever it is called. Instructions are left out: they tell what to look for.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path

from finetune.data.pairs import Pair, Side
from finetune.errors import DataError


def normalize_text(text: str) -> str:
    """`text` in NFKC and in lower case, with single spaces."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


class ContentKeys:
    """The contents of sides; a picture is read once, and again when its file has changed.
    Thread-safe: two threads may at worst read the same picture."""

    def __init__(self) -> None:
        self._hashes: dict[str, tuple[tuple[int, int], str]] = {}

    def hash_side(self, side: Side) -> int:
        """A stable key of 63 bits; raises `DataError` where a picture cannot be read."""
        from blake3 import blake3

        text = normalize_text(side.text) if side.text else ""
        content = self.hash_file(side.image) if side.image else ""
        digest = blake3(f"{content}\0{text}".encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:8], "big") >> 1

    def hash_file(self, path: str) -> str:
        """blake3 of a picture's bytes, in hex, as the indexer has it; raises `DataError`."""
        from embedder.images.decode import read_file
        from indexer.ids import hash_content
        from indexer.skip_reasons import UnusableFileError

        try:
            status = Path(path).stat()
            stamp = (status.st_mtime_ns, status.st_size)
            cached_stamp, content = self._hashes.get(path, ((0, 0), ""))
            if cached_stamp != stamp:
                content = hash_content(read_file(path))
                self._hashes[path] = (stamp, content)
        except (OSError, UnusableFileError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise DataError(f"the picture {path} cannot be read: {reason}") from None
        return content

    def item_of(self, pair: Pair) -> str:
        """What `pair` is about: its own item, else the content of its picture, else its positive.

        Of two pictures it is the one that is looked for. Raises `DataError`.
        """
        if pair.item:
            return pair.item
        image = pair.positive.image or pair.query.image
        return self.hash_file(image) if image else f"{self.hash_side(pair.positive):016x}"
