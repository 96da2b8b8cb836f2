"""Every registered caption format is read, or refused with a message."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.captions.manifest import MANIFEST_READERS, parse_caption_rows, parse_manifest
from indexer.captions.normalize import FileCaptions
from indexer.captions.resolver import is_manifest
from indexer.captions.sidecar import SIDECAR_PARSERS, parse_sidecar
from indexer.captions.sidecar_names import match_sidecars

XMP = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF
 xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description
 xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" photoshop:Headline="a cat"/>
 <rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title/></rdf:Description>
 </rdf:RDF></x:xmpmeta>"""
SIDECARS = {"txt": b"a cat", "json": b'{"caption": "a cat"}', "xmp": XMP}
MANIFESTS = {
    "csv": b"file,caption\nx.jpg,a cat\n",
    "tsv": b"file\tcaption\nx.jpg\ta cat\n",
    "jsonl": b'{"file": "x.jpg", "caption": "a cat"}\n',
    "ndjson": b'{"file": "x.jpg", "caption": "a cat"}\n',
}


def texts(data: FileCaptions) -> list[str]:
    return [caption.text for caption in data.captions]


@pytest.mark.parametrize("extension", SIDECAR_PARSERS)
def test_a_sidecar_is_found_and_read(extension):
    name = f"x.{extension}"
    assert match_sidecars([name, "x.jpg"]).by_image == {"x.jpg": [name]}
    assert texts(parse_sidecar(name, SIDECARS[extension], "x.jpg")) == ["a cat"]


@pytest.mark.parametrize("extension", MANIFEST_READERS)
def test_a_manifest_is_found_and_read(extension):
    name = f"captions.{extension}"
    assert is_manifest(name)
    manifest = parse_manifest(name, MANIFESTS[extension])
    assert manifest.find(["x.jpg"]).name == "x.jpg"
    assert texts(parse_caption_rows(manifest.rows["x.jpg"], "x.jpg")) == ["a cat"]


@given(st.sampled_from(sorted(SIDECAR_PARSERS)), st.binary(max_size=400))
def test_any_sidecar_is_read_or_refused(extension, data):
    try:
        parse_sidecar(f"x.{extension}", data, "x.jpg")
    except ValueError as error:
        assert str(error)


@given(st.sampled_from(sorted(MANIFEST_READERS)), st.text(max_size=300))
def test_any_manifest_is_read_or_refused(extension, text):
    try:
        parse_manifest(f"a.{extension}", text.encode("utf-8", "surrogatepass"))
    except ValueError as error:
        assert str(error)
