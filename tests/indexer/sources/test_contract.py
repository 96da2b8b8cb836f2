"""Every registered type of source keeps the promises of `Source`."""

from __future__ import annotations

import pickle

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embedder.images.decode import DecodeLimits
from indexer.errors import IndexerError, UnusableFileError
from indexer.paths import is_within
from indexer.sources import SourceSet, open_source
from indexer.sources.source_set import SOURCE_TYPES

LIMITS = DecodeLimits()


def _local(images, folder, **_):
    for name, data in images.items():
        (folder / name).write_bytes(data)
    (folder / "1.txt").write_text("a cat")
    return str(folder), str(folder / "missing")


def _tar(images, folder, make_tar, **_):
    (folder / "x.tar").write_bytes(make_tar(images | {"1.txt": b"a cat"}))
    return f"{folder}/x.tar", f"{folder}/missing.tar"


def _parquet(images, folder, **_):
    columns = {"image": list(images.values()), "caption": ["a cat", None]}
    pq.write_table(pa.table(columns), folder / "x.parquet")
    return f"{folder}/x.parquet", f"{folder}/missing.parquet"


def _url_list(images, site, **_):
    site.pages |= {f"/{name}": data for name, data in images.items()}
    site.pages["/x.csv"] = b"url,caption\n1.png,a cat\n2.png,\n"
    return f"{site.url}/x.csv?token=secret", f"{site.url}/missing.csv"


def _object_storage(images, memory, **_):
    memory.pipe({f"/bucket/{name}": data for name, data in (images | {"1.txt": b"a cat"}).items()})
    return "memory://bucket", "memory://missing"


EXAMPLES = {  # target -> function that writes two images and returns (address, missing address)
    "indexer.sources.local:LocalSource": _local,
    "indexer.sources.tar:TarSource": _tar,
    "indexer.sources.parquet:ParquetSource": _parquet,
    "indexer.sources.url_list:UrlListSource": _url_list,
    "indexer.sources.object_storage:ObjectStorageSource": _object_storage,
}


@pytest.fixture
def images(make_image):
    return {"1.png": make_image(1), "2.png": make_image(2)}


@pytest.fixture(params=sorted({source_type.target for source_type in SOURCE_TYPES}))
def example(request, images, folder, site, memory, make_tar):
    """(target, address, an address of the same type where nothing is)."""
    write = EXAMPLES[request.param]  # a new type of source needs an example
    return request.param, *write(images, folder=folder, site=site, memory=memory, make_tar=make_tar)


def test_a_source_keeps_its_promises(example, images):
    target, address, missing = example
    source = open_source(address)
    assert f"{type(source).__module__}:{type(source).__name__}" == target
    source.check_readable()
    assert source.is_available()
    assert "secret" not in source.root
    skips = []
    parts = list(source.list_parts())
    files = [file for part in parts for file in source.discover(part, skips.append)]
    assert not skips
    assert [file.kind for file in files] == ["image", "image"]
    assert all(is_within(part.name, source.root) for part in parts)
    assert all(any(is_within(file.path, part.name) for part in parts) for file in files)

    paths = [file.path for file in files]
    assert [source.read(path, LIMITS) for path in paths] == list(images.values())
    copy = pickle.loads(pickle.dumps(SourceSet([source])))
    assert copy.source_for(paths[0]).root == source.root
    assert copy.read(paths[0], LIMITS) == images["1.png"]
    captions = [source.load_captions(path) for path in paths]
    assert [[caption.text for caption in one.captions] for one in captions] == [["a cat"], []]
    assert [one.stamp for one in captions] == [source.compute_stamp(path) for path in paths]

    with pytest.raises(UnusableFileError) as error:
        source.read(paths[0], DecodeLimits(max_bytes=10))
    assert error.value.reason == "too-large"
    absent = paths[0].replace("1.png", "9.png").replace("#00000000", "#00000009")
    with pytest.raises(UnusableFileError) as error:
        source.read(absent, LIMITS)
    assert error.value.reason == "unreadable"
    with pytest.raises(IndexerError):
        open_source(missing).check_readable()
