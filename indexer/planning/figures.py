"""The figures that the arithmetic stands on: measured with this code, or read in a named source.

MEASURED on 2026-11-26, AMD EPYC, 2 cores, polylens 0.1.0: payloads, thumbnails and catalogues of
710 ingested pictures and of 50,000 made up; files of Qdrant's own engine (Qdrant Edge 0.9) after
`optimize`, for 20,000 points of the collections' schema. DOCS is Qdrant's page on capacity.
"""

from __future__ import annotations

DOCS = "https://qdrant.tech/documentation/capacity-planning/"
LAION = "https://qdrant.tech/documentation/tutorials-operations/large-scale-search/"

# A point's payload, in bytes of JSON.
PAYLOAD = 370  # MEASURED: a picture without captions, its path of 40 letters
CAPTION = 77  # MEASURED: each caption, its language and source with it
PASSAGE = 1400  # a passage of 1,000 letters, the most there are, and the rest
INDEXED = 160  # MEASURED: what of it is in payload indexes: content, paths, folder, name, ...
LOOKED_UP = 116  # of that: content 64, a path 40, a name 12
WORDS, CAPTION_WORDS, PASSAGE_WORDS = 2, 5, 120  # in bm25 vectors; MEASURED, but for passages

# What the engine adds.
PAYLOAD_STORE = 1.5  # DOCS; MEASURED 0.9 before anything is updated
PAYLOAD_IN_RAM = 3  # DOCS: times the store's bytes
PAYLOAD_INDEX = 3.6  # MEASURED, a byte of an indexed field; DOCS say about 2
ID_TRACKER = 52  # DOCS: a point, always in RAM
LINKS = 16  # m, the server's default
LINK_BYTES = 2 * 4 * 1.2  # DOCS: 2 m links of 4 bytes, and 1.2 for the layers above
FILTER_LINKS = 1.25  # MEASURED 165 to 194 bytes a vector, where m = 16 makes 154: see payload_m
QUANTISED_EXTRA = 8  # MEASURED: bytes a quantised vector beside its bits
WORDS_STORED, WORD_STORED = 128, 8  # a sparse vector, and a word of it; MEASURED 145 in all
WORD_INDEXED = 10  # MEASURED: a word in the index
HEADROOM = 1.2  # DOCS: page cache, optimiser, write-ahead log, temporary segments

# Nodes.
USABLE = 0.8  # DOCS: of a node's RAM
VECTORS_A_NODE = 100_000_000  # DOCS: "typically tops out around"
INDEXED_A_SECOND = 4_000  # LAION: vectors of 512 numbers, on 8 cores, while they arrive
INDEXED_DIM = 512

# The wire; MEASURED with qdrant-client 1.20.
GRPC_NUMBER, REST_NUMBER = 4, 21  # bytes a number of a vector
WIRE_PAYLOAD = 1.2  # times the payload's JSON

# This machine's side.
CATALOGUE = 800  # MEASURED: bytes a file in catalogue.db
CATALOGUE_CAPTION = 150  # MEASURED: and with a caption
THUMBNAIL = 17_000  # MEASURED: 209 real pictures; 13,600 for 500 that were made up
DECODE = 7.8  # CPU ms a picture but for the model, thumbnails included: docs/benchmarks.md

# The starter on 2 cores: docs/benchmarks.md.
STARTER_PICTURES, STARTER_TEXTS, STARTER_CORES = 39.1, 131.0, 2  # a second

# The embedded store: docs/benchmarks.md, "Search", 384 numbers a point.
SEARCHES = ((100_000 * 384, 13.1), (1_000_000 * 384, 51.6))  # numbers, ms at the median
EMBEDDED_NUMBER = 2  # bytes: Turbo16
EMBEDDED_LOG = 46_000_000  # MEASURED: bytes of the write-ahead log, however many points
COMFORTABLE = 100  # ms a search, beyond which a server's index is worth its trouble
