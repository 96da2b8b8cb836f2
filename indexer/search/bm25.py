"""BM25 as sparse vectors, for text in every script; the store applies the IDF.

score(q, d) = sum over tokens of idf(w) * tf (k1 + 1) / (tf + k1 (1 - b + b |d| / avg));
Robertson and Zaragoza 2009, eq. 3.15. A token is hashed to 32 bits. A word of a document counts
once, however many tokens it has: they share its weight.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterable
from itertools import islice

from indexer.search.tokenizer import Word, split_document, to_language, tokenize_query
from indexer.types import KeywordTexts, SparseVector

K1, B, AVERAGE_LENGTH = 1.2, 0.75, 24.0  # words in an image's captions, tags and name
MAX_WORDS = 4096


def build_document_vector(texts: KeywordTexts) -> SparseVector:
    """Build the vector of a document: the saturated frequency of each token.

    Args:
        texts: Its captions, tags and name, each with the BCP 47 tag of its language, if known.
    """
    others = [to_language(language) for _, language in texts if language]
    words: Iterable[Word] = (
        word for text, language in texts for word in split_document(text, language, others)
    )
    length = 0
    shares: defaultdict[str, list[float]] = defaultdict(list)
    for word in islice(words, MAX_WORDS):
        length += not word.is_extra
        for token, share in word.tokens:
            shares[token].append(share)
    norm = K1 * (1 - B + B * length / AVERAGE_LENGTH)
    # tf (k1 + 1) / (tf + norm), times the mean share
    return to_sparse_vector(
        {hash_token(token): sum(of) * (K1 + 1) / (len(of) + norm) for token, of in shares.items()}
    )


def build_query_vector(text: str) -> SparseVector:
    """Build the vector of a query: the weight of each token."""
    weights = tokenize_query(text)
    return to_sparse_vector({hash_token(token): weight for token, weight in weights.items()})


def hash_token(token: str) -> int:
    return zlib.crc32(token.encode("utf-8", "surrogatepass"))


def to_sparse_vector(values: dict[int, float]) -> SparseVector:
    """Make a vector of index -> value."""
    indices = tuple(sorted(values))
    return SparseVector(indices, tuple(values[index] for index in indices))
