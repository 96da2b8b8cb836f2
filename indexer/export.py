"""Writes a collection's points, or those of a query, as JSON lines, CSV or a numpy archive."""

from __future__ import annotations

import csv
import io
import json
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from indexer.filters import store_filter
from indexer.schema import IMAGE, TEXT
from indexer.stores.protocol import Store
from indexer.types import Payload, Record, Sparse, Where

if TYPE_CHECKING:
    from indexer.types import Hit

Format = Literal["jsonl", "csv", "npz"]
Row = tuple[Record, float | None]
"""A point, and its score where a query has found it."""

PAGE = 500
PAYLOADS = "payloads.jsonl"
COLUMNS = (
    "id", "score", "path", "kind", "format", "bytes", "width", "height", "taken", "year",
    "camera", "latitude", "longitude", "caption", "languages", "tags", "passage", "text",
)  # fmt: skip


def all_rows(store: Store, where: Where | None = None) -> Iterator[Row]:
    """Every point that fits `where`, by id, a page at a time."""
    condition, after = store_filter(where or {}), None
    while True:
        records, after = store.scroll(condition, limit=PAGE, after=after, vectors=True)
        yield from ((record, None) for record in records)
        if after is None:
            return


def found_rows(store: Store, hits: Sequence[Hit]) -> Iterator[Row]:
    """The points of `hits` in their order, with their scores."""
    for start in range(0, len(hits), PAGE):
        page = hits[start : start + PAGE]
        found = {r.id: r for r in store.retrieve([hit.id for hit in page], vectors=True)}
        yield from ((found[hit.id], hit.score) for hit in page if hit.id in found)


def export(rows: Iterable[Row], out: IO[bytes], form: Format, *, vectors: bool = True) -> int:
    """Write `rows` to `out` as they come; how many there were.

    jsonl: {"id", "score", "payload", "vectors"} a line. csv: `COLUMNS`, no vectors. npz: `ids`,
    `scores`, `payloads.jsonl` (bytes, a line a point), and for `image` and `text` an (n, dim)
    float32 array, with rows of NaN where a point has no such vector.
    """
    return WRITERS[form](rows, out, vectors)


def _write_jsonl(rows: Iterable[Row], out: IO[bytes], vectors: bool) -> int:
    count = 0
    for record, score in rows:
        plain: dict[str, Any] = {"id": record.id, "score": score, "payload": record.payload}
        if vectors:
            plain["vectors"] = {name: _plain(v) for name, v in record.vectors.items()}
        out.write(json.dumps(plain, ensure_ascii=False).encode() + b"\n")
        count += 1
    return count


def _plain(vector: Any) -> object:
    if isinstance(vector, Sparse):
        return {"indices": list(vector.indices), "values": list(vector.values)}
    return [round(float(value), 6) for value in vector]


def _write_csv(rows: Iterable[Row], out: IO[bytes], vectors: bool) -> int:
    text = io.TextIOWrapper(out, encoding="utf-8", newline="", write_through=True)
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore")
    writer.writeheader()
    count = 0
    for record, score in rows:
        writer.writerow({"id": record.id, "score": score, **_flat(record.payload)})
        count += 1
    text.flush()
    text.detach()  # `out` is the caller's to close
    return count


def _flat(payload: Payload) -> Payload:
    captions = payload.get("captions", [])
    return {
        **payload,
        "path": "\n".join(payload.get("paths", [])),
        "caption": "\n".join(caption["text"] for caption in captions),
        "languages": " ".join(payload.get("languages", [])),
        "tags": ", ".join(payload.get("tags", [])),
    }


def _write_npz(rows: Iterable[Row], out: IO[bytes], vectors: bool) -> int:
    """Long columns go through temporary files: an archive's array begins with its length."""
    ids, scores, dim = [], [], 0
    names = (IMAGE, TEXT) if vectors else ()
    with ExitStack() as stack:
        files = {name: stack.enter_context(TemporaryFile()) for name in (*names, PAYLOADS)}
        for record, score in rows:
            dim = dim or _dim(record.vectors)
            for name in names:
                vector = record.vectors.get(name, np.full(dim, np.nan, np.float32))
                files[name].write(np.asarray(vector, np.float32).tobytes())
            files[PAYLOADS].write(json.dumps(record.payload, ensure_ascii=False).encode() + b"\n")
            ids.append(record.id)
            scores.append(np.nan if score is None else score)
        archive = stack.enter_context(zipfile.ZipFile(out, "w"))
        _add(archive, "ids", np.array(ids, np.str_))
        _add(archive, "scores", np.array(scores, np.float32))
        for name in names:
            _add_vectors(archive, name, files[name], (len(ids), dim))
        _copy(files[PAYLOADS], archive, PAYLOADS)
    return len(ids)


def _add(archive: zipfile.ZipFile, name: str, array: NDArray[Any]) -> None:
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        np.lib.format.write_array(member, array)


def _copy(file: IO[bytes], archive: zipfile.ZipFile, name: str) -> None:
    file.seek(0)
    with archive.open(name, "w", force_zip64=True) as member:
        shutil.copyfileobj(file, member)


def _add_vectors(
    archive: zipfile.ZipFile, name: str, file: IO[bytes], shape: tuple[int, int]
) -> None:
    file.seek(0)
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        np.lib.format.write_array_header_1_0(
            member, {"descr": "<f4", "fortran_order": False, "shape": shape}
        )
        shutil.copyfileobj(file, member)


def _dim(vectors: Mapping[str, Any]) -> int:
    return next((len(v) for name, v in vectors.items() if name in (IMAGE, TEXT)), 0)


WRITERS: Mapping[Format, Callable[[Iterable[Row], IO[bytes], bool], int]] = {
    "jsonl": _write_jsonl,
    "csv": _write_csv,
    "npz": _write_npz,
}
