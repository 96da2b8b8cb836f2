"""Where a benchmark's files are, and for which model they are read; how they are read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.errors import DataError

E5V = "e5v"


@dataclass(frozen=True, slots=True)
class BenchmarkFiles:
    """`path` is what the user named, a folder or a file in it; `images` the folder of the pictures
    where they are elsewhere. `family` is the model's: its authors' instructions are used. `font`
    and `drawn` are for drawing captions: a font's file, and the folder of the drawings."""

    path: Path
    images: Path | None = None
    family: str = ""
    font: Path | None = None
    drawings_dir: Path | None = None

    @property
    def folder(self) -> Path:
        return self.path if self.path.is_dir() else self.path.parent

    def instruction_for(self, instruction: str) -> str | None:
        """`instruction`, MMEB's or alike; E5-V follows none of those."""
        return None if self.family == E5V else instruction

    def find_file(self, name: str, description: str, url: str) -> Path:
        """The file called `name`, in the folder or below; raises `DataError`, which says `what` is
        wanted and that it is published at `home`."""
        if self.path.is_file() and self.path.name == name:
            return self.path
        found = [self.folder / name] if (self.folder / name).is_file() else []
        found = found or sorted(self.folder.rglob(name))
        if not found:
            raise DataError(
                f"{self.folder} has no {name}, {description}; the set is published at {url}"
            )
        return found[0]

    def image_path(self, name: str, *folders: str) -> str:
        """The path of a picture: in `images`, or in one of `folders` beside the annotations, or
        where the name alone leads. A picture that is nowhere is missed later, all at once."""
        if self.images:
            roots = [self.images, *(self.images / folder for folder in folders)]
        else:
            roots = [self.folder / folder for folder in folders] + [self.folder]
        for root in roots:
            if (root / name).is_file():
                return str(root / name)
        return str(roots[0] / name)


def read_json(path: Path) -> Any:
    """Raises `DataError`."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is no JSON: {error}") from None


def read_lines(path: Path) -> list[str]:
    """The lines of a text, without the one that may be empty at its end; raises `DataError`."""
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as text: {error}") from None
    return text.removesuffix("\n").split("\n")


def require_field(row: Mapping[str, Any], name: str, where: Path) -> Any:
    """`row[name]`; raises `DataError` where it is not there."""
    if not isinstance(row, Mapping) or name not in row:
        had = ", ".join(map(str, row)) if isinstance(row, Mapping) else repr(row)[:60]
        raise DataError(f"{where} has an entry without {name!r}; it has {had}")
    return row[name]
