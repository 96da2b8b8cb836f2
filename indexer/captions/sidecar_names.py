"""Which sidecar describes which image, told from the names in one folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from embedder.images.formats import IMAGE_EXTENSIONS, get_extension
from indexer.captions.language import parse_known_language
from indexer.captions.matching import How, NameIndex
from indexer.captions.sidecar import SIDECAR_PARSERS
from indexer.captions.takeout import (
    find_original,
    key_of_cut_name,
    key_of_long_name,
    list_targets,
)


@dataclass(slots=True)
class SidecarMatches:
    """The sidecars of one folder.

    Attributes:
        by_image: Image -> its sidecars, sorted.
        inexact: (sidecar, image, how) where the name is not exactly that of the image.
        ambiguous: Sidecar -> the images that it fits equally well; it counts for none.
    """

    by_image: dict[str, list[str]] = field(default_factory=dict)
    inexact: list[tuple[str, str, How]] = field(default_factory=list)
    ambiguous: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def sidecars(self) -> set[str]:
        """All that describe an image, and so are not documents."""
        return {sidecar for sidecars in self.by_image.values() for sidecar in sidecars}


def match_sidecars(names: Iterable[str]) -> SidecarMatches:
    """Find the sidecars among the names in one folder.

    `x.jpg.txt` and `x.txt` describe `x.jpg`; so do `x.en.txt` and `x.jpg.en.txt` (in English), the
    same with any of `SIDECAR_PARSERS`, and the JSON files of Google Takeout.
    """
    sidecars: list[str] = []
    others: list[str] = []
    for name in names:
        (sidecars if get_extension(name) in SIDECAR_PARSERS else others).append(name)
    matches = SidecarMatches()
    if not sidecars:
        return matches
    images = _Images(others)
    for sidecar in sorted(sidecars):
        images.match(sidecar, matches)
    images.share_with_edited(matches)
    return matches


class _Images:
    """The images of a folder by the names that sidecars have for them."""

    def __init__(self, names: Iterable[str]) -> None:
        self._by_name: dict[str, list[str]] = {}  # full name or stem
        self._edited: dict[str, list[str]] = {}  # the stem of the original
        self._long: dict[tuple[str, str], list[str]] = {}  # also films: they have sidecars too
        for name in names:
            extension = get_extension(name)
            if long := key_of_long_name(name):
                self._long.setdefault(long, []).append(name)
            if extension not in IMAGE_EXTENSIONS:
                continue
            self._by_name.setdefault(name, []).append(name)
            self._by_name.setdefault(name[: -len(extension) - 1], []).append(name)
            if original := find_original(name):
                self._edited.setdefault(original, []).append(name)
        self._index = NameIndex(self._by_name)
        self._shared: list[tuple[str, str]] = []  # sidecar, edited version

    def match(self, sidecar: str, matches: SidecarMatches) -> None:
        """Add what `sidecar` describes to `matches`."""
        extension = get_extension(sidecar)
        stem = sidecar[: -len(extension) - 1]
        is_json = extension == "json"
        targets = list(dict.fromkeys(_iterate_targets(stem, is_json=is_json)))
        found = next((self._by_name[name] for name in targets if name in self._by_name), [])
        if is_json:
            found = found or self._find_cut(sidecar, stem, matches)
            self._shared += [(sidecar, image) for image in self._find_edited(targets)]
        found = found or self._find_inexact(sidecar, targets, matches)
        for image in found:
            matches.by_image.setdefault(image, []).append(sidecar)

    def share_with_edited(self, matches: SidecarMatches) -> None:
        """Give the sidecars of pictures to those edited versions that have none of their own."""
        own = {image for image, sidecars in matches.by_image.items() if _has_json(sidecars)}
        for sidecar, image in self._shared:
            if image not in own:
                matches.by_image.setdefault(image, []).append(sidecar)
                matches.by_image[image].sort()

    def _find_inexact(
        self, sidecar: str, targets: Iterable[str], matches: SidecarMatches
    ) -> list[str]:
        for target in targets:
            match = self._index.find(target)
            if match.name is not None:
                images = self._by_name[match.name]
                matches.inexact += [(sidecar, image, match.how) for image in images]
                return images
            if match.names:
                matches.ambiguous[sidecar] = match.names
                return []
        return []

    def _find_cut(self, sidecar: str, stem: str, matches: SidecarMatches) -> list[str]:
        key = key_of_cut_name(stem)
        files = self._long.get(key, []) if key else []
        if len({file for file in files if not find_original(file)}) > 1:
            matches.ambiguous[sidecar] = tuple(files)
            return []
        return [file for file in files if file in self._by_name]

    def _find_edited(self, targets: Iterable[str]) -> list[str]:
        """Return the edited versions of the picture that a sidecar describes."""
        for target in targets:
            extension = get_extension(target)
            stem = target[: -len(extension) - 1] if extension in IMAGE_EXTENSIONS else target
            edited = self._edited.get(stem, [])
            if edited:
                same = [name for name in edited if get_extension(name) == extension]
                return same or edited
        return []


def _iterate_targets(stem: str, *, is_json: bool) -> Iterator[str]:
    """Yield the names of images that a sidecar may describe, best first."""
    yield stem
    head, dot, tail = stem.rpartition(".")
    if dot and parse_known_language(tail):
        yield head
    if is_json:
        yield from list_targets(stem)


def _has_json(names: Iterable[str]) -> bool:
    return any(get_extension(name) == "json" for name in names)
