"""Paths of the catalog: folders and names, containment, and redacted credentials."""

from __future__ import annotations

import pytest

from indexer.errors import IndexerError
from indexer.paths import (
    ancestors,
    canonicalize_url,
    is_local_file,
    is_within,
    redact_text,
    redact_url,
    split_path,
)
from indexer.sources.source_set import expand_braces


@pytest.mark.parametrize(
    ("path", "folder", "name", "plain"),
    [
        ("/a/b/cat.jpg", "/a/b", "cat.jpg", True),
        ("/a/b/no #1.jpg", "/a/b", "no #1.jpg", True),
        ("s3://b/pets/cat.jpg", "s3://b/pets", "cat.jpg", False),
        ("/d/x.tar#pets/cat.jpg", "/d/x.tar#pets", "cat.jpg", False),
        ("/d/x.tar#cat.jpg", "/d/x.tar", "cat.jpg", False),
        ("s3://b/t.parquet#00000012", "s3://b/t.parquet", "t.parquet#00000012", False),
        ("https://h/l.csv#https://c/1.jpg", "https://h/l.csv#https://c", "1.jpg", False),
        ("/d/notes.csv#1.jpg", "/d", "notes.csv#1.jpg", True),
    ],
)
def test_folder_and_name(path, folder, name, plain):
    assert split_path(path) == (folder, name)
    assert is_local_file(path) is plain


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("s3://bucket/prefix/", "s3://bucket/prefix"),
        ("memory://", "memory://"),
        ("https://ann:pw@host/l.csv?sig=1#x", "https://host/l.csv"),
        ("https://token@host/l.csv", "https://host/l.csv"),
        ("sftp://ann@host/pictures", "sftp://ann@host/pictures"),
        ("sftp://ann:pw@host/pictures", "sftp://host/pictures"),
        ("s3://bucket/what?.jpg", "s3://bucket/what?.jpg"),
        ("/home/a?b#c", "/home/a?b#c"),
    ],
)
def test_urls_are_redacted(address, kept):
    assert redact_url(address) == kept


def test_messages_of_libraries_are_redacted():
    address = "https://ann:pw123@host/x?sig=abc"
    redacted = redact_text(
        f"cannot open {address}: pw123 refused, see http://a:b@c/d?X=1&Y=2", address
    )
    assert not any(secret in redacted for secret in ("pw123", "sig=abc", "a:b", "X=1"))


def test_query_parameters_but_not_secrets_tell_images_apart():
    assert canonicalize_url("http://h/i?id=1&sig=a") == canonicalize_url("http://h/i?sig=b&id=1")
    assert canonicalize_url("http://h/i?id=1") != canonicalize_url("http://h/i?id=2")
    assert canonicalize_url("http://h/i.jpg?X-Amz-Date=1&X-Amz-Signature=2") == "http://h/i.jpg"
    assert canonicalize_url("http://[?a=1") == "http://["


def test_braces():
    assert expand_braces("t-{08..10}.tar") == ["t-08.tar", "t-09.tar", "t-10.tar"]
    assert expand_braces("{a,b}/{1..2}") == ["a/1", "a/2", "b/1", "b/2"]
    for plain in ("plain{}.tar", "{0..99999999999999999999}.tar"):
        assert expand_braces(plain) == [plain]
    with pytest.raises(IndexerError, match="the limit is 100,000"):
        expand_braces("{0..99999999999}.tar")
    with pytest.raises(IndexerError, match="1,000,000 names"):
        expand_braces("{000..999}/{000..999}.tar")


def test_ancestors_and_containment():
    assert list(ancestors("s3://b/x.tar#m")) == ["s3://b/x.tar#m", "s3://b/x.tar", "s3://b", "s3://b/",
                                             "s3:/", "s3://", "s3:", "s3:/"]  # fmt: skip
    assert is_within("s3://b/x", "s3://b")
    assert not is_within("s3://bc/x", "s3://b")
    assert is_within("memory://x", "memory://")
