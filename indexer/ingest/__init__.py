"""Ingest: bring a collection up to date with its sources.

`pipeline` joins four stages that do not know each other: `scan`, `decode_stage`, `embed_stage` and
`write_stage`; what flows between them is in `types`. `reconcile` decides what a batch of files
means for the points of the collection, from the `catalog` (what was seen before) and the store.
`distributed` runs the decode and embed stages on the workers of a cluster.
"""
