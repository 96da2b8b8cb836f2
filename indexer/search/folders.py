"""Filters by a folder with all that is in it: `folder=/photos/**`, and the tree of all folders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from indexer.paths import is_within
from indexer.stores.base import Store
from indexer.types import Filters

KEY = "folder"
SUBTREE = "/**"
MAX_FOLDERS = 100_000  # of a collection: what a server lists at most
MAX_LEVELS = 100  # of the tree; what is deeper counts in the folder above


def expand_folders(store: Store, filters: Filters) -> Filters:
    """`filters` with each folder that a value with `/**` stands for.

    Takes a request if there is such a value. Raises `StoreError`.
    """
    wanted = filters.get(KEY)
    if wanted is None or not any(map(is_subtree, (*wanted.any_of, *wanted.none_of))):
        return filters
    folders = [folder for folder, _ in store.facet(KEY, None, MAX_FOLDERS)]
    both = (_expand(wanted.any_of, folders), _expand(wanted.none_of, folders))
    return {**filters, KEY: replace(wanted, any_of=both[0], none_of=both[1])}


def is_subtree(value: str) -> bool:
    return value.endswith(SUBTREE)


def _expand(values: Iterable[str], folders: Sequence[str]) -> tuple[str, ...]:
    """A value that no folder matches stays: it finds nothing."""
    expanded: dict[str, None] = {}
    for value in values:
        root = value.removesuffix(SUBTREE)
        found = [folder for folder in folders if is_subtree(value) and is_within(folder, root)]
        expanded |= dict.fromkeys(found or [value])
    return tuple(expanded)


@dataclass(slots=True, kw_only=True)
class FolderNode:
    """A folder of the tree.

    Attributes:
        value: Of a filter: the folder, with `/**` if there are folders in it, also such as are too
            deep for the tree.
        label: Its path from the folder above.
        count: The points in it and in the folders in it.
    """

    value: str
    label: str
    count: int
    children: list[FolderNode] = field(default_factory=list)


def build_folder_tree(counts: Iterable[tuple[str, int]]) -> list[FolderNode]:
    """The tree of folders with points, without those that only lead to one other, and of at most
    `MAX_LEVELS` levels: what walks through it, such as an encoder of JSON, recurses.

    Args:
        counts: Folders, each with its number of points.

    Returns:
        The highest folders, by name.
    """
    roots: dict[str, _Branch] = {}
    for folder, count in counts:
        branches = roots
        prefix = ""
        for part in _split(folder):
            prefix += part
            branch = branches.setdefault(part, _Branch(prefix))
            branch.total += count
            branches = branch.branches
        branch.own += count
    return [_make_node(branch, "", MAX_LEVELS) for _, branch in sorted(roots.items())]


@dataclass(slots=True)
class _Branch:
    path: str
    own: int = 0
    total: int = 0
    branches: dict[str, _Branch] = field(default_factory=dict)


def _split(folder: str) -> list[str]:
    """Parts that make up `folder` when they are joined: `["/photos", "/Rome"]`; the host of a URL
    is one part."""
    scheme, mark, rest = folder.rpartition("://")
    first, *others = rest.split("/")
    parts = [f"{scheme}{mark}{first}", *(f"/{other}" for other in others)]
    return [part for part in parts if part] or [folder]


def _make_node(branch: _Branch, above: str, levels: int) -> FolderNode:
    while not branch.own and len(branch.branches) == 1:
        (branch,) = branch.branches.values()
    inner = sorted(branch.branches.items()) if levels > 1 else []
    children = [_make_node(one, branch.path, levels - 1) for _, one in inner]
    label = branch.path if not above else branch.path.removeprefix(above).strip("/")
    value = branch.path + SUBTREE if branch.branches else branch.path
    return FolderNode(value=value, label=label, count=branch.total, children=children)
