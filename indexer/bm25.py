"""Words as sparse vectors, in every script: BM25 whose IDF the store adds.

score(q, d) = sum over words of idf(w) * tf (k1 + 1) / (tf + k1 (1 - b + b |d| / avg));
Robertson and Zaragoza 2009, eq. 3.15. A word is hashed to 32 bits. Scripts without spaces are cut
into pairs of characters.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterator

from indexer.types import Sparse

K1, B, AVERAGE = 1.2, 0.75, 24.0  # words in a picture's captions, tags and name
MOST_WORDS = 4096
DENSE = re.compile(  # Han, kana, Thai, Lao, Burmese, Khmer: written without spaces
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u30ff\u31f0-\u31ff\u3400-\u9fff"
    r"\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]+"
)
WORD = re.compile(  # with the vowel marks of Indic and South-East Asian scripts
    r"[\w\u0300-\u036f\u0900-\u0dff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]+"
)


def tokens(text: str) -> Iterator[str]:
    """The words of `text`, folded: case, width, and the accents of Latin, Greek and Cyrillic."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    spaced = DENSE.sub(lambda match: " " + " ".join(_pairs(match[0])) + " ", folded)
    for word in WORD.findall(spaced):
        yield _without_accents(word)


def document_vector(text: str) -> Sparse:
    """The saturated frequency of each word of a document."""
    counts = Counter(_hash(word) for word, _ in zip(tokens(text), range(MOST_WORDS), strict=False))
    length = K1 * (1 - B + B * sum(counts.values()) / AVERAGE)
    return _sparse({index: tf * (K1 + 1) / (tf + length) for index, tf in counts.items()})


def query_vector(text: str) -> Sparse:
    """Weight 1 for each word of a query."""
    return _sparse({_hash(word): 1.0 for word in tokens(text)})


def _pairs(run: str) -> list[str]:
    """`犬が走る` -> 犬が が走 走る; a single character stays alone."""
    return [run[i : i + 2] for i in range(len(run) - 1)] or [run]


def _without_accents(word: str) -> str:
    plain = unicodedata.normalize("NFD", word)
    if plain == word or ord(word[0]) > 0x052F:
        return word
    return "".join(c for c in plain if not unicodedata.combining(c))


def _hash(word: str) -> int:
    return zlib.crc32(word.encode("utf-8", "surrogatepass"))


def _sparse(values: dict[int, float]) -> Sparse:
    indices = tuple(sorted(values))
    return Sparse(indices, tuple(values[index] for index in indices))
