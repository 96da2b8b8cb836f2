"""The constants of the estimates: measured with this code, or read in a named source.

MEASURED on 2026-11-26, AMD EPYC, 2 cores, polylens 0.1.0: payloads, thumbnails and catalogs of 710
ingested images and of 50,000 synthetic ones; files of Qdrant's own engine (Qdrant Edge 0.9) after
`optimize`, for 20,000 points of the collections' schema. Payloads and catalogs again on 2026-11-29,
with signatures, of 276 images and of 20,000 synthetic files. DOCS is Qdrant's page on capacity.
"""

from __future__ import annotations

DOCS = "https://qdrant.tech/documentation/capacity-planning/"
LAION_DOCS = "https://qdrant.tech/documentation/tutorials-operations/large-scale-search/"

# A point's payload, in bytes of JSON.
PAYLOAD_BYTES = 700  # MEASURED 682: an image without captions, with a path of 40 characters
CAPTION_BYTES = 77  # MEASURED: each caption, with its language and source
PASSAGE_BYTES = 1400  # a chunk of 1,000 characters (the most), and the rest
INDEXED_BYTES = 184  # MEASURED: the part in payload indexes: content, paths, folder, name, ...
LOOKUP_BYTES = 140  # of that: content 64, a path 40, a name 12, two dates 24
IMAGE_WORDS, CAPTION_WORDS, PASSAGE_WORDS = 3, 7, 130  # forms and stems; MEASURED except chunks

# What the engine adds.
PAYLOAD_STORE_FACTOR = 1.5  # DOCS; MEASURED 0.9 before the first update
PAYLOAD_RAM_FACTOR = 3  # DOCS: times the store's bytes
PAYLOAD_INDEX_FACTOR = 3.6  # MEASURED per byte of an indexed field; DOCS say about 2
ID_TRACKER_BYTES = 52  # DOCS: per point, always in RAM
HNSW_M = 16  # the server's default
LINK_BYTES = 2 * 4 * 1.2  # DOCS: 2 m links of 4 bytes, times 1.2 for the upper layers
FILTER_LINK_FACTOR = 1.25  # MEASURED 165-194 bytes per vector; m = 16 makes 154: see payload_m
QUANTIZED_EXTRA_BYTES = 8  # MEASURED: bytes per quantized vector beside its bits
SPARSE_VECTOR_BYTES = 128  # per sparse vector, with one word MEASURED 145 in all
SPARSE_WORD_BYTES = 8  # per word of a sparse vector
SPARSE_INDEX_WORD_BYTES = 10  # MEASURED: per word in the index
HEADROOM_FACTOR = 1.2  # DOCS: page cache, optimizer, write-ahead log, temporary segments

# Nodes.
USABLE_RAM_SHARE = 0.8  # DOCS: of a node's RAM
MAX_VECTORS_PER_NODE = 100_000_000  # DOCS: "typically tops out around"
VECTORS_INDEXED_PER_SECOND = 4_000  # LAION: vectors of dim 512, on 8 cores, during the upload
INDEXING_BENCHMARK_DIM = 512

# The wire; MEASURED with qdrant-client 1.20.
GRPC_BYTES_PER_VALUE, REST_BYTES_PER_VALUE = 4, 21  # per value of a vector
WIRE_PAYLOAD_FACTOR = 1.2  # times the payload's JSON

# The machine that ingests.
CATALOG_FILE_BYTES = 1_130  # MEASURED 1,070 without EXIF: per file in catalogue.db
CATALOG_CAPTION_BYTES = 150  # MEASURED 97 for one of 30 characters: more with a caption
THUMBNAIL_BYTES = 17_000  # MEASURED: 209 real images; 13,600 for 500 synthetic ones
DECODE_MS = 7.8  # CPU ms per image without the model, with thumbnails: docs/benchmarks.md

# The starter on 2 cores, per second: docs/benchmarks.md.
STARTER_IMAGES_PER_SECOND, STARTER_TEXTS_PER_SECOND, STARTER_CORES = 39.1, 131.0, 2

# The embedded store: docs/benchmarks.md, "Search", dim 384.
SEARCH_MEASUREMENTS = ((100_000 * 384, 13.1), (1_000_000 * 384, 51.6))  # values, median ms
EMBEDDED_BYTES_PER_VALUE = 2  # Turbo16
EMBEDDED_WAL_BYTES = 46_000_000  # MEASURED: the write-ahead log, for any number of points
COMFORTABLE_SEARCH_MS = 100  # above this, a server's index is worth its effort
