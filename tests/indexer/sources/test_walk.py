"""Walking folders: order, links, pipes, unusual names, what is ignored and what is reported."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from embedder.images.decode import DecodeLimits
from indexer.errors import IndexerError, UnusableFileError
from indexer.paths import display_path, resolve_display_path
from indexer.sources import SourceFile, SourceOptions
from indexer.sources.local import LocalSource, Walk, distinct_roots
from indexer.types import SkippedFile

JPEG = b"\xff\xd8\xff\xe0 as far as a walk can see"


def touch(path: Path, data: bytes = JPEG) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def walked(*roots: Path, **options: Any) -> tuple[list[SourceFile], dict[str, SkippedFile]]:
    skips: list[SkippedFile] = []
    found = list(Walk(skips.append, **options).run(roots))
    assert len({s.path for s in skips}) == len(skips)
    return found, {Path(s.path).name: s for s in skips}


def names(root: Path, *more: Path, **options: Any) -> list[str]:
    return [os.path.relpath(f.path, root) for f in walked(root, *more, **options)[0]]


def test_files_come_folder_by_folder_sorted_by_name(tmp_path):
    for name in ("b/2.jpg", "b/1.png", "a/z/9.webp", "a/5.gif", "c.HEIC", "B.TXT", "a.md"):
        touch(tmp_path / name)
    expected = ["B.TXT", "a.md", "c.HEIC", "a/5.gif", "a/z/9.webp", "b/1.png", "b/2.jpg"]
    assert names(tmp_path) == expected


def test_a_discovered_file_has_size_and_time(tmp_path):
    path = touch(tmp_path / "a.jpg")
    os.utime(path, ns=(1, 1_700_000_000_123_456_789))
    found, skips = walked(tmp_path)
    assert found == [SourceFile(str(path), len(JPEG), 1_700_000_000_123_456_789, "image")]
    assert not skips


def test_kinds(tmp_path):
    for name in ("a.txt", "b.md", "c.markdown", "d.rst", "e.tiff", "f.avif"):
        touch(tmp_path / name)
    assert [f.kind for f in walked(tmp_path)[0]] == ["text"] * 4 + ["image"] * 2


def test_an_image_without_an_extension_is_recognized_by_content(tmp_path):
    touch(tmp_path / "IMG_0001")
    touch(tmp_path / "photo.backup")
    touch(tmp_path / "program.exe", b"MZ\x90\0")
    touch(tmp_path / "empty", b"")
    found, skips = walked(tmp_path)
    assert [(Path(f.path).name, f.kind) for f in found] == [
        ("IMG_0001", "image"),
        ("photo.backup", "image"),
    ]
    assert not skips


def test_hidden_files_system_files_and_sidecars_are_ignored(tmp_path):
    for name in (".a.jpg", ".git/b.jpg", "@eaDir/c.jpg", "__MACOSX/d.jpg", "Thumbs.db"):
        touch(tmp_path / name)
    for name in ("p.jpg", "p.txt", "p.jpg.ja.txt", "p.json", "p.xmp"):
        touch(tmp_path / name)
    touch(tmp_path / "captions.csv", b"file,caption\n")
    touch(tmp_path / "notes.txt")
    found, skips = walked(tmp_path)
    assert [Path(f.path).name for f in found] == ["notes.txt", "p.jpg"]
    assert not skips


def test_unsupported_formats_say_what_to_do(tmp_path):
    touch(tmp_path / "drawing.svg", b"<svg/>")
    touch(tmp_path / "negative.NEF", b"MM\0*")
    touch(tmp_path / "nameless", b"FUJIFILMCCD-RAW 0201FF")
    found, skips = walked(tmp_path)
    assert not found
    assert {s.reason for s in skips.values()} == {"unsupported"}
    assert "PNG" in skips["drawing.svg"].detail
    assert "JPEG" in skips["negative.NEF"].detail
    assert "nameless" in skips


def test_a_missing_root_stops_the_walk_at_once(tmp_path):
    touch(tmp_path / "a.jpg")
    with pytest.raises(IndexerError, match="no-such-folder"):
        next(Walk(lambda skip: None).run([tmp_path, tmp_path / "no-such-folder"]))


def test_a_single_file_is_a_root(tmp_path):
    path = touch(tmp_path / "a.jpg")
    touch(tmp_path / "b.jpg")
    assert [f.path for f in walked(path)[0]] == [str(path)]


def test_a_named_file_is_never_ignored_silently(tmp_path):
    film = touch(tmp_path / "film.mp4", b"\0\0\0\x18ftypisom")
    drawing = touch(tmp_path / "a.svg")
    found, skips = walked(film, drawing)
    assert not found
    assert {skip.reason for skip in skips.values()} == {"unsupported"}


def test_nested_and_repeated_roots_give_each_file_once(tmp_path):
    touch(tmp_path / "a/b/1.jpg")
    touch(tmp_path / "a/2.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    a = tmp_path / "a"
    expected = ["2.jpg", "b/1.jpg"]
    assert names(a, a / "b", a, a / "b/1.jpg", tmp_path / "link", a / "b/..") == expected


def test_a_hidden_root_is_walked_also_beside_its_parent(tmp_path):
    touch(tmp_path / ".private/1.jpg")
    touch(tmp_path / "2.jpg")
    assert names(tmp_path, tmp_path / ".private") == ["2.jpg", ".private/1.jpg"]
    assert distinct_roots([tmp_path, tmp_path / ".private/1.jpg"]) == [
        str(tmp_path),
        str(tmp_path / ".private/1.jpg"),
    ]


def test_links_to_folders_are_followed_only_on_request(tmp_path):
    outside = touch(tmp_path / "outside/1.jpg")
    root = tmp_path / "root"
    root.mkdir()
    (root / "file.jpg").symlink_to(outside)
    (root / "folder").symlink_to(outside.parent)
    assert names(root) == ["file.jpg"]
    assert names(root, follow_links=True) == ["file.jpg", "folder/1.jpg"]


def test_no_link_leads_out_of_the_folders_that_may_be_read(tmp_path):
    root, outside = tmp_path / "root", touch(tmp_path / "outside/1.jpg")
    touch(root / "own.jpg")
    (root / "inside.jpg").symlink_to("own.jpg")
    (root / "file.jpg").symlink_to(outside)
    (root / "unnamed").symlink_to(outside)
    (root / "folder").symlink_to(outside.parent)
    found, skips = walked(root, follow_links=True, within=[str(root)])
    assert [Path(file.path).name for file in found] == ["inside.jpg", "own.jpg"]
    assert "library_roots" in skips["file.jpg"].detail
    source = LocalSource(str(root), SourceOptions(within=(str(root),)))
    assert source.read(str(root / "inside.jpg"), DecodeLimits()) == JPEG
    with pytest.raises(UnusableFileError) as refused:  # it was put there after the walk
        source.read(str(root / "file.jpg"), DecodeLimits())
    assert "library_roots" in refused.value.detail
    with pytest.raises(IndexerError, match="library_roots"):
        LocalSource(str(outside.parent), SourceOptions(within=(str(root),))).check_readable()


def test_link_cycles_end(tmp_path):
    touch(tmp_path / "a/b/1.jpg")
    (tmp_path / "a/b/up").symlink_to(tmp_path / "a")
    (tmp_path / "a/self").symlink_to(tmp_path / "a/self")
    (tmp_path / "a/loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "a/gone.jpg").symlink_to("nowhere.jpg")
    found, skips = walked(tmp_path, follow_links=True)
    assert [Path(f.path).name for f in found] == ["1.jpg"]
    reasons = {name: skip.reason for name, skip in skips.items()}
    assert reasons == {"up": "link-cycle", "loop.jpg": "link-cycle", "gone.jpg": "unreadable"}
    assert set(walked(tmp_path)[1]) == {"loop.jpg", "gone.jpg"}


def test_two_links_into_each_other_and_a_folder_linked_twice(tmp_path):
    touch(tmp_path / "a/1.jpg")
    touch(tmp_path / "b/2.jpg")
    (tmp_path / "a/to-b").symlink_to(tmp_path / "b")
    (tmp_path / "b/to-a").symlink_to(tmp_path / "a")
    found, _ = walked(tmp_path, follow_links=True)
    assert sorted(Path(f.path).name for f in found) == ["1.jpg", "2.jpg"]


def test_pipes_sockets_and_devices_are_reported(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    os.mkfifo(tmp_path / "pipe-of-no-interest")
    (tmp_path / "device.jpg").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(tmp_path)  # a socket's path must be short
        try:
            listener.bind("socket.png")
        finally:
            os.chdir(here)
        found, skips = walked(tmp_path)
    assert not found
    assert {name: skip.reason for name, skip in skips.items()} == dict.fromkeys(
        ("pipe.jpg", "device.jpg", "socket.png"), "not-a-regular-file"
    )


def test_a_pipe_as_root_is_reported(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    found, skips = walked(tmp_path / "pipe.jpg")
    assert not found
    assert skips["pipe.jpg"].reason == "not-a-regular-file"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_without_permission_is_reported(tmp_path):
    touch(tmp_path / "locked/1.jpg")
    touch(tmp_path / "2.jpg")
    (tmp_path / "locked").chmod(0)
    try:
        found, skips = walked(tmp_path)
    finally:
        (tmp_path / "locked").chmod(0o755)
    assert [Path(f.path).name for f in found] == ["2.jpg"]
    assert skips["locked"].reason == "unreadable"


def test_a_folder_that_vanishes_while_walking_is_reported(tmp_path):
    touch(tmp_path / "a/1.jpg")
    touch(tmp_path / "b/2.jpg")
    skips: list[SkippedFile] = []
    walking = Walk(skips.append).run([tmp_path])
    assert Path(next(walking).path).name == "1.jpg"
    (tmp_path / "b/2.jpg").unlink()
    (tmp_path / "b").rmdir()
    assert list(walking) == []
    assert [skip.reason for skip in skips] == ["unreadable"]


NAMES = [
    "newline\nin the name.jpg",
    "-rf.jpg",
    "  spaces  .jpg",
    "emoji 🐈‍⬛.jpg",
    "عربى ไทย 日本語.jpg",
    "quote'\"`$(touch x).jpg",
    "é".encode().decode("latin-1") + ".jpg",
    "x" * 251 + ".jpg",
    "two.dots..jpg",
]


def test_odd_names_work(tmp_path):
    for name in NAMES:
        touch(tmp_path / name)
    found, skips = walked(tmp_path)
    assert {Path(f.path).name for f in found} == set(NAMES)
    assert not skips


def test_names_that_are_not_utf8_work_end_to_end(tmp_path):
    raw = os.fsencode(tmp_path) + b"/caf\xe9.jpg"
    with open(raw, "wb") as file:
        file.write(JPEG)
    (found,), _ = walked(tmp_path)
    assert os.fsencode(found.path) == raw
    shown = display_path(found.path)
    assert shown.endswith(r"caf\xe9.jpg")
    shown.encode()
    assert resolve_display_path(shown) == found.path


@pytest.mark.parametrize("name", ["plain.jpg", "日本語.jpg", "a\nb.jpg", r"a\xe9.jpg"])
def test_display_path_keeps_valid_names(tmp_path, name):
    path = str(touch(tmp_path / name))
    assert display_path(path) == path
    assert resolve_display_path(path) == path


def test_a_skip_of_an_odd_name_can_be_printed(tmp_path):
    os.mkfifo(os.fsencode(tmp_path) + b"/p\xff.jpg")
    _, skips = walked(tmp_path)
    assert list(skips) == [r"p\xff.jpg"]


def test_a_deep_folder_needs_no_recursion(tmp_path):
    folder = tmp_path
    for _ in range(300):
        folder = folder / "d"
    touch(folder / "deep.jpg")
    found, skips = walked(tmp_path)
    assert [Path(f.path).name for f in found] == ["deep.jpg"]
    assert not skips


def test_a_path_longer_than_the_system_allows_is_reported(tmp_path):
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(30):
        os.mkdir("d" * 200, dir_fd=here)
        inner = os.open("d" * 200, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    found, skips = walked(tmp_path)
    assert not found
    assert [skip.reason for skip in skips.values()] == ["unreadable"]


def test_the_walk_streams(tmp_path):
    for i in range(3):
        touch(tmp_path / f"{i}/a.jpg")
    walking = Walk(lambda skip: None).run([tmp_path])
    next(walking)
    touch(tmp_path / "2/b.jpg")  # seen, since that folder is not listed yet
    assert len(list(walking)) == 3


def test_a_device_that_is_named_is_reported():
    found, skips = walked(Path("/dev/null"))
    assert (found, skips["null"].reason) == ([], "not-a-regular-file")
    assert skips["null"].detail == "a device, not a file"
