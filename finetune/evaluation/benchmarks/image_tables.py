"""Sets of the Hugging Face Hub whose tables hold the images themselves, as downloaded.

E5-V's authors evaluate on such sets (retrieval.py of https://github.com/kongds/E5-V):

flickr30k_test, coco_test       split test: image, text (the captions)
cirr_val, cirr_test             split val or test: candidate, candidate_id, caption, and target_id
                                or pairid
cirr_imgs                       splits val and test: id, img
fashioniq_val                   split val: category, candidate, caption (two), target_id
fashioniq_val_imgs              split val: category, id, img

Each is https://huggingface.co/datasets/royokong/NAME, downloaded to a folder of that name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from blake3 import blake3

from embedder.files import make_private_dir
from finetune.data.cells import Row
from finetune.data.tables import read_rows
from finetune.errors import DataError
from finetune.evaluation.benchmarks import BenchmarkFiles, require_field

SUFFIXES = ((b"\x89PNG", ".png"), (b"\xff\xd8\xff", ".jpg"), (b"RIFF", ".webp"), (b"GIF8", ".gif"))
SAFE_NAME = re.compile(r"[\w-][\w.-]{0,79}")


def read_table_rows(files: BenchmarkFiles, name: str, split: str) -> Iterator[tuple[Path, Row]]:
    """The rows of a split of the set `name`, which is in the folder or is the folder, each with its
    file; none where it is not there."""
    roots = [files.folder / name, *([files.folder] if files.folder.name == name else [])]
    tables = (sorted(root.rglob(f"{split}-*.parquet")) for root in roots)
    for path in next(filter(None, tables), []):
        for _, row in read_rows(path):
            yield path, row


class ImageStore:
    """Writes images that tables hold to files, each once, and names them."""

    def __init__(self, files: BenchmarkFiles, folder: str) -> None:
        """`folder` keeps sets apart."""
        self._folder = files.extracted_dir / folder if files.extracted_dir else None

    def add(self, row: Row, column: str, name: str, path: Path) -> str:
        """Write the image in `row[column]`; returns its path, whose stem is `name`.

        Raises:
            DataError: `path`, the table, has no image there, or there is nowhere to write.
            OSError: It cannot be written.
        """
        if self._folder is None:
            raise DataError(f"the images in {path} need a folder that they are written to")
        value = require_field(row, column, path)
        data = value.get("bytes") if isinstance(value, Mapping) else value
        if not isinstance(data, bytes):
            raise DataError(f"{path}: {column} of {name} holds no image")
        suffix = next((end for start, end in SUFFIXES if data.startswith(start)), ".image")
        target = self._folder / (_safe_name(name) + suffix)
        if not target.is_file() or target.stat().st_size != len(data):
            make_private_dir(target.parent)
            temporary = target.with_suffix(".part")
            temporary.write_bytes(data)
            temporary.replace(target)
        return str(target)


def _safe_name(name: str) -> str:
    """`name` where it is one of a file; otherwise what can be kept of it, and a digest."""
    if SAFE_NAME.fullmatch(name):
        return name
    kept = re.sub(r"[^\w.-]", "_", name)[:50].lstrip(".")
    return f"{kept}_{blake3(name.encode()).hexdigest(length=6)}"


def parse_text(row: Row, column: str, path: Path) -> str:
    """A text as it is; raises `DataError`."""
    value: Any = require_field(row, column, path)
    if not isinstance(value, str):
        raise DataError(f"{path}: {column} is not a text: {value!r:.80}")
    return value


def parse_texts(row: Row, column: str, path: Path) -> list[str]:
    """A list of texts as they are; raises `DataError`."""
    value: Any = require_field(row, column, path)
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise DataError(f"{path}: {column} is not a list of texts: {value!r:.80}")
    return value
