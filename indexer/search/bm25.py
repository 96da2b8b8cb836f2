"""BM25 as sparse vectors, for text in every script; the store applies the IDF.

score(q, d) = sum over tokens of idf(w) * tf (k1 + 1) / (tf + k1 (1 - b + b |d| / avg));
Robertson and Zaragoza 2009, eq. 3.15. A token is a word, hashed to 32 bits. Scripts without spaces
are split into bigrams of characters.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterator
from itertools import islice, pairwise

from indexer.types import SparseVector

K1, B, AVERAGE_LENGTH = 1.2, 0.75, 24.0  # tokens in an image's captions, tags and name
MAX_TOKENS = 4096
UNSPACED_SCRIPTS = re.compile(  # Han, kana, Thai, Lao, Burmese, Khmer: written without spaces
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u30ff\u31f0-\u31ff\u3400-\u9fff"
    r"\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]+"
)
WORD_PATTERN = re.compile(  # with the vowel marks of Indic and South-East Asian scripts
    r"[\w\u0300-\u036f\u0900-\u0dff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]+"
)


def tokenize(text: str) -> Iterator[str]:
    """Split `text` into words, without case, width, and Latin, Greek and Cyrillic accents."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    spaced = UNSPACED_SCRIPTS.sub(lambda match: f" {_split_into_bigrams(match[0])} ", folded)
    for word in WORD_PATTERN.findall(spaced):
        yield _strip_accents(word)


def build_document_vector(text: str) -> SparseVector:
    """Build the vector of a document: the saturated frequency of each token."""
    counts = Counter(map(_hash_token, islice(tokenize(text), MAX_TOKENS)))
    length = K1 * (1 - B + B * sum(counts.values()) / AVERAGE_LENGTH)
    return to_sparse_vector({index: tf * (K1 + 1) / (tf + length) for index, tf in counts.items()})


def build_query_vector(text: str) -> SparseVector:
    """Build the vector of a query: weight 1 for each token."""
    return to_sparse_vector({_hash_token(word): 1.0 for word in tokenize(text)})


def _split_into_bigrams(run: str) -> str:
    """`犬が走る` -> 犬が が走 走る; a single character stays as it is."""
    return " ".join(map("".join, pairwise(run))) or run


def _strip_accents(word: str) -> str:
    plain = unicodedata.normalize("NFD", word)
    if plain == word or ord(word[0]) > 0x052F:
        return word
    return "".join(c for c in plain if not unicodedata.combining(c))


def _hash_token(word: str) -> int:
    return zlib.crc32(word.encode("utf-8", "surrogatepass"))


def to_sparse_vector(values: dict[int, float]) -> SparseVector:
    """Make a vector of index -> value."""
    indices = tuple(sorted(values))
    return SparseVector(indices, tuple(values[index] for index in indices))
