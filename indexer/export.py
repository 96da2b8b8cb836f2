"""Writes the points of a collection or of a query as JSON lines, CSV or a NumPy archive."""

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

from indexer.collections.schema import IMAGE, TEXT
from indexer.search.query_syntax import build_store_filter
from indexer.stores.base import Store
from indexer.types import Filters, Payload, Record, SparseVector

if TYPE_CHECKING:
    from indexer.types import Hit

ExportFormat = Literal["jsonl", "csv", "npz"]
ExportRow = tuple[Record, float | None]
"""A point, and its score if a query found it."""

PAGE_SIZE = 500
PAYLOADS_FILE = "payloads.jsonl"
CSV_COLUMNS = (
    "id", "score", "path", "kind", "format", "bytes", "width", "height", "taken", "year",
    "camera", "latitude", "longitude", "caption", "languages", "tags", "passage", "text",
)  # fmt: skip


def iterate_all_rows(store: Store, filters: Filters | None = None) -> Iterator[ExportRow]:
    """Every point that matches `filters`, by id, a page at a time."""
    condition, after = build_store_filter(filters or {}), None
    while True:
        records, after = store.scroll(condition, limit=PAGE_SIZE, after=after, vectors=True)
        yield from ((record, None) for record in records)
        if after is None:
            return


def iterate_hit_rows(store: Store, hits: Sequence[Hit]) -> Iterator[ExportRow]:
    """The points of `hits`, in order, with their scores."""
    for start in range(0, len(hits), PAGE_SIZE):
        page = hits[start : start + PAGE_SIZE]
        found = {r.id: r for r in store.retrieve([hit.id for hit in page], vectors=True)}
        yield from ((found[hit.id], hit.score) for hit in page if hit.id in found)


def export(
    rows: Iterable[ExportRow], out: IO[bytes], form: ExportFormat, *, vectors: bool = True
) -> int:
    """Write `rows` to `out` one by one; returns their number.

    jsonl: {"id", "score", "payload", "vectors"} per line. csv: `COLUMNS`, no vectors. npz: `ids`,
    `scores`, `payloads.jsonl` (bytes, a line per point), and for `image` and `text` an (n, dim)
    float32 array, with a row of NaN for a point without that vector.
    """
    return WRITERS[form](rows, out, vectors)


def _write_jsonl(rows: Iterable[ExportRow], out: IO[bytes], vectors: bool) -> int:
    count = 0
    for record, score in rows:
        plain: dict[str, Any] = {"id": record.id, "score": score, "payload": record.payload}
        if vectors:
            plain["vectors"] = {name: _vector_to_json(v) for name, v in record.vectors.items()}
        out.write(json.dumps(plain, ensure_ascii=False).encode() + b"\n")
        count += 1
    return count


def _vector_to_json(vector: Any) -> object:
    if isinstance(vector, SparseVector):
        return {"indices": list(vector.indices), "values": list(vector.values)}
    return [round(float(value), 6) for value in vector]


def _write_csv(rows: Iterable[ExportRow], out: IO[bytes], vectors: bool) -> int:
    text = io.TextIOWrapper(out, encoding="utf-8", newline="", write_through=True)
    writer = csv.DictWriter(text, CSV_COLUMNS, extrasaction="ignore")
    writer.writeheader()
    count = 0
    for record, score in rows:
        writer.writerow({"id": record.id, "score": score, **_flatten_payload(record.payload)})
        count += 1
    text.flush()
    text.detach()  # the caller closes `out`
    return count


def _flatten_payload(payload: Payload) -> Payload:
    captions = payload.get("captions", [])
    return {
        **payload,
        "path": "\n".join(payload.get("paths", [])),
        "caption": "\n".join(caption["text"] for caption in captions),
        "languages": " ".join(payload.get("languages", [])),
        "tags": ", ".join(payload.get("tags", [])),
    }


def _write_npz(rows: Iterable[ExportRow], out: IO[bytes], vectors: bool) -> int:
    """Vectors go through temporary files: an array in the archive begins with its length."""
    ids, scores, dim = [], [], 0
    names = (IMAGE, TEXT) if vectors else ()
    with ExitStack() as stack:
        files = {name: stack.enter_context(TemporaryFile()) for name in (*names, PAYLOADS_FILE)}
        for record, score in rows:
            dim = dim or _find_dim(record.vectors)
            for name in names:
                vector = record.vectors.get(name, np.full(dim, np.nan, np.float32))
                files[name].write(np.asarray(vector, np.float32).tobytes())
            files[PAYLOADS_FILE].write(
                json.dumps(record.payload, ensure_ascii=False).encode() + b"\n"
            )
            ids.append(record.id)
            scores.append(np.nan if score is None else score)
        archive = stack.enter_context(zipfile.ZipFile(out, "w"))
        _write_array(archive, "ids", np.array(ids, np.str_))
        _write_array(archive, "scores", np.array(scores, np.float32))
        for name in names:
            _write_vectors(archive, name, files[name], (len(ids), dim))
        _copy_file(files[PAYLOADS_FILE], archive, PAYLOADS_FILE)
    return len(ids)


def _write_array(archive: zipfile.ZipFile, name: str, array: NDArray[Any]) -> None:
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        np.lib.format.write_array(member, array)


def _copy_file(file: IO[bytes], archive: zipfile.ZipFile, name: str) -> None:
    file.seek(0)
    with archive.open(name, "w", force_zip64=True) as member:
        shutil.copyfileobj(file, member)


def _write_vectors(
    archive: zipfile.ZipFile, name: str, file: IO[bytes], shape: tuple[int, int]
) -> None:
    file.seek(0)
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        np.lib.format.write_array_header_1_0(
            member, {"descr": "<f4", "fortran_order": False, "shape": shape}
        )
        shutil.copyfileobj(file, member)


def _find_dim(vectors: Mapping[str, Any]) -> int:
    return next((len(v) for name, v in vectors.items() if name in (IMAGE, TEXT)), 0)


WRITERS: Mapping[ExportFormat, Callable[[Iterable[ExportRow], IO[bytes], bool], int]] = {
    "jsonl": _write_jsonl,
    "csv": _write_csv,
    "npz": _write_npz,
}
