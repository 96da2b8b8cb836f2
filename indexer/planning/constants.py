"""The figures that the arithmetic stands on: measured with this code, or read in a named source.

MEASURED on 2026-11-26, AMD EPYC, 2 cores, polylens 0.1.0: payloads, thumbnails and catalogues of
710 ingested pictures and of 50,000 made up; files of Qdrant's own engine (Qdrant Edge 0.9) after
`optimize`, for 20,000 points of the collections' schema. DOCS is Qdrant's page on capacity.
"""

from __future__ import annotations

DOCS = "https://qdrant.tech/documentation/capacity-planning/"
LAION_DOCS = "https://qdrant.tech/documentation/tutorials-operations/large-scale-search/"

# A point's payload, in bytes of JSON.
PAYLOAD_BYTES = 370  # MEASURED: a picture without captions, its path of 40 letters
CAPTION_BYTES = 77  # MEASURED: each caption, its language and source with it
PASSAGE_BYTES = 1400  # a passage of 1,000 letters, the most there are, and the rest
INDEXED_BYTES = 160  # MEASURED: what of it is in payload indexes: content, paths, folder, name, ...
LOOKUP_BYTES = 116  # of that: content 64, a path 40, a name 12
IMAGE_WORDS, CAPTION_WORDS, PASSAGE_WORDS = 2, 5, 120  # in bm25 vectors; MEASURED, but for passages

# What the engine adds.
PAYLOAD_STORE_FACTOR = 1.5  # DOCS; MEASURED 0.9 before anything is updated
PAYLOAD_RAM_FACTOR = 3  # DOCS: times the store's bytes
PAYLOAD_INDEX_FACTOR = 3.6  # MEASURED, a byte of an indexed field; DOCS say about 2
ID_TRACKER_BYTES = 52  # DOCS: a point, always in RAM
HNSW_M = 16  # m, the server's default
LINK_BYTES = 2 * 4 * 1.2  # DOCS: 2 m links of 4 bytes, and 1.2 for the layers above
FILTER_LINK_FACTOR = (
    1.25  # MEASURED 165 to 194 bytes a vector, where m = 16 makes 154: see payload_m
)
QUANTIZED_EXTRA_BYTES = 8  # MEASURED: bytes a quantised vector beside its bits
SPARSE_VECTOR_BYTES, SPARSE_WORD_BYTES = (
    128,
    8,
)  # a sparse vector, and a word of it; MEASURED 145 in all
SPARSE_INDEX_WORD_BYTES = 10  # MEASURED: a word in the index
HEADROOM_FACTOR = 1.2  # DOCS: page cache, optimiser, write-ahead log, temporary segments

# Nodes.
USABLE_RAM_SHARE = 0.8  # DOCS: of a node's RAM
MAX_VECTORS_PER_NODE = 100_000_000  # DOCS: "typically tops out around"
VECTORS_INDEXED_PER_SECOND = 4_000  # LAION: vectors of 512 numbers, on 8 cores, while they arrive
INDEXING_BENCHMARK_DIM = 512

# The wire; MEASURED with qdrant-client 1.20.
GRPC_BYTES_PER_VALUE, REST_BYTES_PER_VALUE = 4, 21  # bytes a number of a vector
WIRE_PAYLOAD_FACTOR = 1.2  # times the payload's JSON

# This machine's side.
CATALOG_FILE_BYTES = 800  # MEASURED: bytes a file in catalogue.db
CATALOG_CAPTION_BYTES = 150  # MEASURED: and with a caption
THUMBNAIL_BYTES = 17_000  # MEASURED: 209 real pictures; 13,600 for 500 that were made up
DECODE_MS = 7.8  # CPU ms a picture but for the model, thumbnails included: docs/benchmarks.md

# The starter on 2 cores: docs/benchmarks.md.
STARTER_IMAGES_PER_SECOND, STARTER_TEXTS_PER_SECOND, STARTER_CORES = 39.1, 131.0, 2  # a second

# The embedded store: docs/benchmarks.md, "Search", 384 numbers a point.
SEARCH_MEASUREMENTS = ((100_000 * 384, 13.1), (1_000_000 * 384, 51.6))  # numbers, ms at the median
EMBEDDED_BYTES_PER_VALUE = 2  # bytes: Turbo16
EMBEDDED_WAL_BYTES = 46_000_000  # MEASURED: bytes of the write-ahead log, however many points
COMFORTABLE_SEARCH_MS = 100  # ms a search, beyond which a server's index is worth its trouble
