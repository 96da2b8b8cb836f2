"""Ids: the bytes of a file determine the ids of its points, whatever the file is called."""

from __future__ import annotations

import uuid

NAMESPACE = uuid.UUID("6f1d2c1e-5f0e-5a53-9a54-706f6c796c65")


def hash_content(data: bytes) -> str:
    """The BLAKE3 hash of a file's bytes, in hex."""
    from blake3 import blake3

    return blake3(data).hexdigest()


def make_point_ids(content_id: str, num_chunks: int = 0) -> list[str]:
    """The ids of an image (one) or of a document's chunks (one each), as UUIDv5."""
    names = [f"{content_id}/{i}" for i in range(num_chunks)] if num_chunks else [content_id]
    return [str(uuid.uuid5(NAMESPACE, name)) for name in names]
