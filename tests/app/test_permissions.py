"""What a visitor may name: folders under the roots, and known models."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app import jobs, permissions
from app.permissions import Permissions, check_model, resolve_allowed_path, set_permissions
from embedder.families.registry import SHORT_NAMES
from indexer.errors import IndexerError


@pytest.fixture
def places(tmp_path) -> Path:
    """A root with a folder, links that lead out of it and back in, and a folder outside."""
    for name in ("root/holiday", "root/.hidden", "outside/secret", "root-2"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "root" / "out").symlink_to(tmp_path / "outside")
    (tmp_path / "root" / "nowhere").symlink_to(tmp_path / "outside" / "missing")
    (tmp_path / "root" / "in").symlink_to("holiday")
    set_permissions(Permissions(roots=(str(tmp_path / "root"),)))
    return tmp_path


def test_folders_under_a_root_are_allowed(places, monkeypatch):
    root = places / "root"
    for typed in ("root", "root/holiday", "root/in", "root/out/../holiday", " root/holiday/ "):
        assert resolve_allowed_path(str(places / typed.strip())).is_relative_to(root)
    monkeypatch.setenv("HOME", str(places / "root"))
    assert resolve_allowed_path("~/holiday") == root / "holiday"
    monkeypatch.chdir(root)
    assert resolve_allowed_path("in") == root / "holiday"
    for missing in ("missing", "a" * 5000):
        with pytest.raises(IndexerError, match="there is no file or folder"):
            resolve_allowed_path(str(root / missing))


@pytest.mark.parametrize(
    "typed",
    [
        "{}/outside", "{}/root/../outside", "{}/root-2", "{}", "/", "/etc", "~root", "..",
        "{}/root/out", "{}/root/out/secret", "{}/root/in/../../outside", "{}/root/.hidden",
        "{}/root/holiday/../.hidden", "{}/root\0/x", "s3://bucket/x", "http://localhost/x.csv",
        "file://{}/root/holiday", "zip://x::{}/root/x.zip", "{}/" + "a" * 5000,
    ],
)  # fmt: skip
def test_nothing_else_is_and_nobody_learns_whether_it_exists(places, typed):
    text = typed.format(places)
    missing = text.replace("/out", "/nowhere") if "root/out" in text else text + "-missing"
    words = []
    for name in (text, missing):
        with pytest.raises(IndexerError) as refused:
            resolve_allowed_path(name)
        words.append(str(refused.value).replace(repr(name), "it"))
    if "hidden" not in typed:
        assert words[0] == words[1]
    assert words[0].startswith("it may not be read: only what is in")
    assert "POLYLENS_LIBRARY_ROOTS" in words[0]


def test_what_is_outside_is_not_looked_up(places, monkeypatch):
    looked_up: list[str] = []
    real = os.path.realpath
    monkeypatch.setattr(os.path, "realpath", lambda p, **k: looked_up.append(str(p)) or real(p))
    with pytest.raises(IndexerError):
        resolve_allowed_path(str(places / "outside" / "secret"))
    assert looked_up == [str(places / "root")]


def test_without_roots_nothing_is_allowed(places):
    set_permissions(Permissions())
    with pytest.raises(IndexerError, match="no folder is allowed; set POLYLENS_LIBRARY_ROOTS"):
        resolve_allowed_path(str(places / "root"))
    assert resolve_allowed_path(str(places / "root"), [places]) == places / "root"


def test_no_server_means_no_permission(monkeypatch):
    monkeypatch.setattr(permissions, "_permissions", [])
    assert permissions.get_permissions() == Permissions()
    assert not permissions.is_guarded()


def test_known_models_may_be_chosen(places):
    short, full = next(iter(SHORT_NAMES.items()))
    for name in ("starter", short, full, "http://gpu:8100/v1"):
        assert check_model(name, ["http://gpu:8100/v1"]) == name
    assert check_model(str(places / "root" / "in")) == str(places / "root" / "holiday")


def test_a_mistyped_name_gets_a_suggestion(places):
    with pytest.raises(IndexerError, match=r"may not be read.*did you mean siglip2\?"):
        check_model("siglp2")


@pytest.mark.parametrize(
    "name",
    [
        "http://gpu:8100/v1", "HTTP://gpu", "s3://bucket/model", "remote:http://gpu:8100/v1",
        "remote:gpu", "sentence_transformer:{}/outside", "{}/outside", "../outside", "a/model",
        "outside/secret", "", ".",
    ],
)  # fmt: skip
def test_a_visitor_names_no_other_server_folder_or_download(places, monkeypatch, name):
    monkeypatch.chdir(places)
    with pytest.raises(IndexerError, match=r"may not be read|cannot be chosen here"):
        check_model(name.format(places))


def test_on_this_machine_alone_any_model_of_the_hub_may_be_chosen(places, monkeypatch):
    monkeypatch.chdir(places)
    set_permissions(Permissions(roots=(str(places / "root"),), is_private=True))
    assert check_model("somebody/model") == "somebody/model"
    for name in ("outside/secret", "../outside", "http://gpu:8100/v1"):
        with pytest.raises(IndexerError):
            check_model(name)


def test_an_ingest_follows_no_link_out_of_the_roots(places, empty_store, photo):
    """Pictures, captions and tables of captions: a link to any file of the machine."""
    secret = photo(places / "outside" / "secret.jpg", 3)
    (places / "outside" / "words.txt").write_text("a secret caption")
    (places / "outside" / "table.csv").write_text("file_name,caption\na.jpg,a secret row\n")
    folder = places / "root" / "holiday"
    photo(folder / "a.jpg", 1)
    photo(folder / "b.jpg", 2)
    (folder / "inside.jpg").symlink_to(folder / "b.jpg")
    (folder / "linked.jpg").symlink_to(secret)
    (folder / "unnamed").symlink_to(secret)
    (folder / "linked.txt").symlink_to(places / "outside" / "words.txt")
    (folder / "a.txt").symlink_to(places / "outside" / "words.txt")
    (folder / "captions.csv").symlink_to(places / "outside" / "table.csv")
    (folder / "everything").symlink_to(places / "outside")
    job = jobs.start_ingest("linked", folder, model=None, prune=False)
    job.wait(120)
    assert not job.error and job.report.added == 2
    from app.services import open_searcher

    records, _ = open_searcher("linked").collection.store.scroll(limit=10)
    assert "secret" not in str([record.payload for record in records])
    skipped = {Path(s.path).name for s in job.report.skipped if "library_roots" in s.detail}
    assert {"linked.jpg", "a.txt", "captions.csv"} <= skipped
