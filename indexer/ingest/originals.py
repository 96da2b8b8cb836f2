"""Reads the images of points again, for a model that looks at them when they are found."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing, suppress
from io import BytesIO

from PIL.Image import Image
from PIL.Image import open as open_image

from embedder.images.decode import DecodeLimits, decode_image
from indexer.collections.collection import OpenCollection
from indexer.errors import IndexerError, UnusableFileError
from indexer.ingest.catalog import CATALOG_FILE, Catalog
from indexer.ingest.thumbnails import read_thumbnail, thumbnail_path
from indexer.paths import url_scheme
from indexer.sources import find_original
from indexer.types import Payload


class OriginalReader:
    """Reads images from the files that they were ingested from. Thread-safe.

    A file on another machine is not fetched: a search sends no requests for what it finds. Then,
    and where the file is gone or has changed, the image is its thumbnail, with a longer side of
    448 pixels.
    """

    def __init__(self, collection: OpenCollection, limits: DecodeLimits) -> None:
        self._thumbnail_dir, self._limits = collection.thumbnail_dir, limits
        self._roots = _list_roots(collection)

    def read(self, id: str, payload: Payload, side: int) -> Image | None:
        """Read the image of a point.

        Args:
            id: The point.
            payload: Of the point, with the paths of its files.
            side: The shorter side in pixels to which the image may be reduced.

        Returns:
            Upright RGB; None where neither the file nor the thumbnail is there.
        """
        paths = [str(path) for path in payload.get("paths") or () if not url_scheme(str(path))]
        data = find_original(id, paths, self._roots, self._limits)
        if data is not None:
            with suppress(UnusableFileError):
                return decode_image(data, side=side, limits=self._limits).image
        thumbnail = read_thumbnail(thumbnail_path(self._thumbnail_dir, id))
        if thumbnail is None:
            return None
        with suppress(OSError), open_image(BytesIO(thumbnail)) as image:
            return image.convert("RGB")
        return None


def _list_roots(collection: OpenCollection) -> Sequence[str]:
    try:
        with closing(Catalog(collection.index_dir / CATALOG_FILE)) as catalog:
            return [root for root in catalog.list_roots() if not url_scheme(root)]
    except IndexerError:
        return ()
