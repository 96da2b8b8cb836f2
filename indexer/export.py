"""Writes the points of a collection or of a query as JSON lines, CSV or a NumPy archive."""

from __future__ import annotations

import csv
import io
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from tempfile import TemporaryFile
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from embedder.escaping import dump_json, escape_cell
from indexer.collections.schema import IMAGE, NAME, TEXT
from indexer.search.filter_checks import check_columns
from indexer.search.filters import build_store_filter
from indexer.search.folders import expand_folders
from indexer.stores.base import PAGE_SIZE, Store, iterate_records
from indexer.types import Filters, Hit, Payload, Record, SparseVector

ExportFormat = Literal["jsonl", "csv", "npz"]
ExportRow = tuple[Record, float | None]
"""A point, and its score if a query found it."""

PAYLOADS_FILE = "payloads.jsonl"
CSV_COLUMNS = (
    "id", "score", "path", "kind", "format", "bytes", "width", "height", "taken", "taken_from",
    "year", "added", "camera", "latitude", "longitude", "caption", "languages", "tags", "passage",
    "text", "meta",
)  # fmt: skip


def iterate_all_rows(store: Store, filters: Filters | None = None) -> Iterator[ExportRow]:
    """Every point that matches `filters`, by id, a page at a time; raises `QueryError`."""
    where = build_store_filter(expand_folders(store, filters or {}))
    check_columns(store, filters or {})
    return ((record, None) for record in iterate_records(store, where, vectors=True))


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

    jsonl: {"id", "score", "payload", "vectors"} per line. csv: `CSV_COLUMNS`, no vectors; `meta`,
    the columns of the user's own, is JSON. An apostrophe is put before what a spreadsheet would
    read as a formula; the other formats have every value as it is. npz:
    `ids`, `scores`, `payloads.jsonl` (bytes, a line per point), and for `image`, `text` and `name`
    an (n, dim) float32 array, with a row of NaN for a point without that vector.
    """
    return WRITERS[form](rows, out, vectors)


def _write_jsonl(rows: Iterable[ExportRow], out: IO[bytes], vectors: bool) -> int:
    count = 0
    for record, score in rows:
        row: dict[str, Any] = {"id": record.id, "score": score, "payload": record.payload}
        if vectors:
            row["vectors"] = {name: _vector_to_json(v) for name, v in record.vectors.items()}
        out.write(_to_json_line(row))
        count += 1
    return count


def _to_json_line(value: Payload) -> bytes:
    return dump_json(value).encode() + b"\n"


def _vector_to_json(vector: Any) -> object:
    if isinstance(vector, SparseVector):
        return vector._asdict()
    return [round(float(value), 6) for value in vector]


def _write_csv(rows: Iterable[ExportRow], out: IO[bytes], vectors: bool) -> int:
    text = io.TextIOWrapper(out, encoding="utf-8", newline="", write_through=True)
    writer = csv.DictWriter(text, CSV_COLUMNS, extrasaction="ignore")
    writer.writeheader()
    count = 0
    for record, score in rows:
        payload = record.payload
        row = {
            **payload,
            "id": record.id,
            "score": score,
            "path": "\n".join(payload.get("paths", [])),
            "caption": "\n".join(caption["text"] for caption in payload.get("captions", [])),
            "languages": " ".join(payload.get("languages", [])),
            "tags": ", ".join(payload.get("tags", [])),
            "meta": dump_json(meta) if (meta := payload.get("meta")) else "",
        }
        writer.writerow({k: escape_cell(v) if isinstance(v, str) else v for k, v in row.items()})
        count += 1
    text.flush()
    text.detach()  # the caller closes `out`
    return count


def _write_npz(rows: Iterable[ExportRow], out: IO[bytes], vectors: bool) -> int:
    """Vectors go through temporary files: an array in the archive begins with its length."""
    ids: list[str] = []
    scores: list[float] = []
    names = (IMAGE, TEXT, NAME) if vectors else ()
    dim = 0
    with ExitStack() as stack:
        files = {name: stack.enter_context(TemporaryFile()) for name in (*names, PAYLOADS_FILE)}
        for record, score in rows:
            dim = dim or next((len(record.vectors[n]) for n in names if n in record.vectors), 0)
            for name in names:
                vector = record.vectors.get(name, np.full(dim, np.nan))
                files[name].write(np.asarray(vector, np.float32).tobytes())
            files[PAYLOADS_FILE].write(_to_json_line(record.payload))
            ids.append(record.id)
            scores.append(np.nan if score is None else score)
        archive = stack.enter_context(zipfile.ZipFile(out, "w"))
        _write_array(archive, "ids", np.array(ids, np.str_))
        _write_array(archive, "scores", np.array(scores, np.float32))
        for name in names:
            files[name].flush()
            array = np.empty((len(ids), dim), np.float32)
            if dim:  # an empty file cannot be mapped
                array = np.memmap(files[name], np.float32, "r", shape=(len(ids), dim))
            _write_array(archive, name, array)
        files[PAYLOADS_FILE].seek(0)
        with archive.open(PAYLOADS_FILE, "w", force_zip64=True) as member:
            shutil.copyfileobj(files[PAYLOADS_FILE], member)
    return len(ids)


def _write_array(archive: zipfile.ZipFile, name: str, array: NDArray[Any]) -> None:
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        np.lib.format.write_array(member, array, allow_pickle=False)


WRITERS: Mapping[ExportFormat, Callable[[Iterable[ExportRow], IO[bytes], bool], int]] = {
    "jsonl": _write_jsonl,
    "csv": _write_csv,
    "npz": _write_npz,
}
