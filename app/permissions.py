"""What a visitor of the app may name: folders, files and models.

A visitor may be anyone who reaches the app. Nothing is allowed until the server says otherwise, and
what is refused is refused in the same words whether it exists or not.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from embedder import list_models
from embedder.families.registry import FAMILIES, SHORT_NAMES, format_suggestions
from indexer.errors import IndexerError
from indexer.paths import display_path, leads_outside
from indexer.sources.base import is_ignored

HUB_ID_PATTERN = re.compile(r"\w[\w.-]*/\w[\w.-]*")  # OWNER/NAME on Hugging Face
ROOTS_HINT = "set POLYLENS_LIBRARY_ROOTS to the folders that may be read, and start the app again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Permissions:
    """What visitors may do.

    Attributes:
        roots: The folders under which they may name folders and files.
        is_private: Whether they are whoever started the app, for only this machine reaches it. They
            may name any model of Hugging Face, and see the pictures of an evaluation wherever they
            are.
        logout_url: Where they log out; empty where nobody logs in.
    """

    roots: tuple[str, ...] = ()
    is_private: bool = False
    logout_url: str = ""


_permissions: list[Permissions] = []  # one at most: the server's


def set_permissions(permissions: Permissions) -> None:
    """Say what visitors of this process's server may do."""
    _permissions[:] = [permissions]


def get_permissions() -> Permissions:
    """What visitors may do: nothing where no server has said it."""
    return _permissions[0] if _permissions else Permissions()


def is_guarded() -> bool:
    """Whether the server of this process checks who may connect."""
    return bool(_permissions)


def resolve_allowed_path(typed: str, also: Iterable[str | Path] = ()) -> Path:
    """The real path of a file or folder that a visitor typed.

    Args:
        typed: What was typed; `~` is the home folder of whoever started the app.
        also: Folders that are allowed beside the roots.

    Raises:
        IndexerError: It is not under an allowed folder, or hidden there, or does not exist.
    """
    roots = get_permissions().roots
    for root in (*roots, *map(str, also)):
        path = _find_under(root, typed)
        if path is not None:
            if not os.path.exists(path):  # noqa: PTH110  False where the name is too long
                raise IndexerError(f"there is no file or folder {typed!r} on this machine")
            return path
    if not roots:
        raise IndexerError(f"{typed!r} may not be read: no folder is allowed; {ROOTS_HINT}")
    raise IndexerError(
        f"{typed!r} may not be read: only what is in {describe_roots(roots)} and not hidden may; "
        f"to allow another folder, {ROOTS_HINT}"
    )


def may_show(path: str) -> bool:
    """Whether a visitor may see a picture that a report of an evaluation names."""
    permissions = get_permissions()
    return permissions.is_private or not leads_outside(path, permissions.roots)


def describe_roots(roots: Sequence[str]) -> str:
    return " or ".join(map(display_path, roots))


def _find_under(root: str, typed: str) -> Path | None:
    """The real path of `typed` if it is under `root`, is not hidden there, and no link leads out.

    What is not under `root` as it is written is not looked up.
    """
    text = typed.strip()
    if not text or "\0" in text or "://" in text:
        return None
    written = os.path.abspath(os.path.expanduser(text))  # noqa: PTH100  and without ".."
    real_root = os.path.realpath(root)
    if not any(Path(written).is_relative_to(base) for base in (root, real_root)):
        return None
    try:
        path = Path(os.path.realpath(written))
    except OSError:
        return None
    if not path.is_relative_to(real_root) or any(
        map(is_ignored, path.relative_to(real_root).parts)
    ):
        return None
    return path


def check_model(name: str, also: Iterable[str | Path] = ()) -> str:
    """The name of a model that a visitor chose, with a folder's real path.

    Args:
        name: A name, or a folder.
        also: Names and folders that are allowed beside the known names and the roots.

    Raises:
        IndexerError: It is a server's URL, or a folder that may not be read.
    """
    name = name.strip()
    extra = [str(item) for item in also]
    if name in {*extra, *SHORT_NAMES, *(card.name for card in list_models())}:
        return name
    if "://" in name or name.partition(":")[0] in {family.name for family in FAMILIES}:
        raise IndexerError(
            f"the model {name!r} cannot be chosen here; to use a model server, set POLYLENS_MODEL "
            "and start the app again"
        )
    is_hub_id = HUB_ID_PATTERN.fullmatch(name) and not os.path.exists(name)  # noqa: PTH110
    if get_permissions().is_private and is_hub_id:
        return name
    try:
        return str(resolve_allowed_path(name, [item for item in extra if Path(item).is_absolute()]))
    except IndexerError as error:
        if hint := format_suggestions(name):
            raise IndexerError(f"{error}; {hint}") from error
        raise
