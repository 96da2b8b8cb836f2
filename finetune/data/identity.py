"""What a side says, as a number: two sides of one content are never each other's negatives.

A text is what remains of it without differences of case, width and blanks; a picture is its
file's bytes, whatever it is called. Instructions are left out: they tell what to look for.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path

from finetune.data.pairs import Pair, Side
from finetune.errors import DataError


def normal(text: str) -> str:
    """`text` in NFKC and in lower case, with single spaces."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


class Identities:
    """The contents of sides; a picture is read once, and again when its file has changed.
    Thread-safe: two threads may at worst read the same picture."""

    def __init__(self) -> None:
        self._contents: dict[str, tuple[tuple[int, int], str]] = {}

    def of(self, side: Side) -> int:
        """A stable key of 63 bits; raises `DataError` where a picture cannot be read."""
        from blake3 import blake3

        words = normal(side.text) if side.text else ""
        content = self.content(side.image) if side.image else ""
        digest = blake3(f"{content}\0{words}".encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:8], "big") >> 1

    def content(self, path: str) -> str:
        """blake3 of a picture's bytes, in hex, as the indexer has it; raises `DataError`."""
        from indexer.decode import read
        from indexer.identity import content_hash
        from indexer.skips import Undecodable

        try:
            status = Path(path).stat()
            stamp = (status.st_mtime_ns, status.st_size)
            stored, content = self._contents.get(path, ((0, 0), ""))
            if stored != stamp:
                content = content_hash(read(path))
                self._contents[path] = (stamp, content)
        except (OSError, Undecodable) as error:
            said = error.strerror if isinstance(error, OSError) else error
            raise DataError(f"the picture {path} cannot be read: {said}") from None
        return content

    def item(self, pair: Pair) -> str:
        """What `pair` is about: its own item, else the content of its picture, else its positive.

        Of two pictures it is the one that is looked for. Raises `DataError`.
        """
        if pair.item:
            return pair.item
        picture = pair.positive.image or pair.query.image
        return self.content(picture) if picture else f"{self.of(pair.positive):016x}"
