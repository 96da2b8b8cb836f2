"""Content is identity: a file's bytes name its points, whatever the file is called."""

from __future__ import annotations

import uuid

NAMESPACE = uuid.UUID("6f1d2c1e-5f0e-5a53-9a54-706f6c796c65")


def content_hash(data: bytes) -> str:
    """blake3 of a file's bytes, in hex."""
    from blake3 import blake3

    return blake3(data).hexdigest()


def point_ids(content: str, passages: int = 0) -> list[str]:
    """The ids of a picture (one) or of a document's passages (one each), as UUIDv5."""
    names = [f"{content}/{i}" for i in range(passages)] if passages else [content]
    return [str(uuid.uuid5(NAMESPACE, name)) for name in names]
