"""Lists of images on a web server; only allowed hosts are fetched from."""

from __future__ import annotations

import pytest

from embedder.images.decode import DecodeLimits
from indexer.errors import IndexerError, UnusableFileError
from indexer.sources import SourceOptions, SourceSet, open_source, read_original
from indexer.sources.allowlist import HostPolicy, is_public_address
from indexer.sources.http_client import HttpClient


def test_a_list_with_captions(site, run, stored, make_image):
    site.pages["/pets/list.csv"] = b"url,caption_en,tags\ncat.png,a cat,pet\n/dogs/dog.png,a dog,\n"
    site.pages["/pets/cat.png"] = make_image(1)
    site.pages["/dogs/dog.png"] = make_image(2)
    url = f"{site.url}/pets/list.csv"
    assert run(url) == {"added": 2}
    cat, dog = stored()["cat.png"], stored()["dog.png"]
    assert cat["paths"] == [f"{url}#cat.png"]
    assert dog["paths"] == [f"{url}#{site.url}/dogs/dog.png"]
    assert dog["folder"] == [f"{url}#{site.url}/dogs"]
    assert cat["meta"]["url"] == f"{site.url}/pets/cat.png"
    assert (cat["captions"][0]["text"], cat["tags"]) == ("a cat", ["pet"])
    site.requests.clear()
    assert run(url) == {"unchanged": 2}
    assert site.requests == ["/pets/list.csv"]


def test_a_list_that_changes(site, run, stored, make_image):
    rows = ['{"url": "1.png", "caption": "one"}', '{"url": "2.png"}']
    site.pages |= {"/l.jsonl": "\n".join(rows).encode(), "/1.png": make_image(1)}
    site.pages |= {"/2.png": make_image(2), "/3.png": make_image(3)}
    run(f"{site.url}/l.jsonl")
    rows[0] = '{"url": "1.png", "caption": "eins", "lang": "de"}'
    site.pages["/l.jsonl"] = "\n".join([rows[0], '{"url": "3.png"}']).encode()
    site.requests.clear()
    assert run(f"{site.url}/l.jsonl", prune=True) == {"added": 1, "updated": 1, "removed": 1}
    assert sorted(site.requests) == ["/1.png", "/3.png", "/l.jsonl"]
    assert stored()["1.png"]["captions"][0]["text"] == "eins"


def test_an_empty_or_missing_list_removes_nothing(site, run, collection, make_image):
    site.pages |= {"/l.txt": b"# pictures\n1.png\n", "/1.png": make_image(1)}
    run(f"{site.url}/l.txt")
    site.pages["/l.txt"] = b""
    assert run(f"{site.url}/l.txt", prune=True) == {}
    site.pages["/l.txt"] = 404
    with pytest.raises(IndexerError, match=r"l\.txt: 127\.0\.0\.1 answers 404"):
        run(f"{site.url}/l.txt", prune=True)
    assert collection.store.count() == 1


def test_other_hosts_are_fetched_only_if_allowed(site, other_site, run, make_image):
    other_site.pages["/2.png"] = make_image(2)
    rows = [f"{other_site.url}/2.png", "file:///etc/passwd", "ftp://127.0.0.1/x.png"]
    rows += ["http://169.254.169.254/latest/meta-data/x.png", "gopher://x/y.png"]
    site.pages["/l.txt"] = "\n".join(rows).encode()
    result = run(f"{site.url}/l.txt")
    assert result == {"skipped": sorted((row.rpartition("/")[2], "remote") for row in rows)}
    assert other_site.requests == []
    advice = [s.detail for s in run.report.skipped]
    assert f"not fetched: name its host with --allow-host {other_site.host}" in advice
    result = run(f"{site.url}/l.txt", allowed_hosts=(other_site.host,))
    assert (result["added"], len(result["skipped"])) == (1, 4)


@pytest.mark.parametrize("url", ["http://[", "http://xn--a-.example/x.png", "http://a:99999/x.png"])
def test_a_bad_url_is_skipped_alone(site, run, make_image, url):
    site.pages |= {"/l.txt": f"{url}\n1.png\nmoved.png\n".encode(), "/1.png": make_image(1)}
    site.pages["/moved.png"] = url
    result = run(f"{site.url}/l.txt")
    assert (result["added"], len(result["skipped"])) == (1, 2)


def test_an_image_in_the_list_itself_is_skipped_alone(site, run, make_image):
    uri = "data:image/png;base64," + "iVBORw0KGgo" * 500
    site.pages |= {"/l.csv": f"url,caption\n{uri},x\n1.png,y\n".encode(), "/1.png": make_image(1)}
    result = run(f"{site.url}/l.csv")
    assert result["added"] == 1
    (skip,) = run.report.skipped
    assert (skip.reason, len(skip.path) < 200) == ("remote", True)
    assert skip.detail == "only http and https are fetched, not data"


def test_redirects_are_checked(site, other_site, run, make_image):
    secret = make_image(5)
    other_site.pages["/s.png"] = secret
    site.pages |= {
        "/l.txt": b"near.png\nfar.png\nmeta.png\nfile.png\nloop.png\n",
        "/near.png": "/real.png",
        "/real.png": make_image(1),
        "/far.png": f"{other_site.url}/s.png",
        "/meta.png": "http://169.254.169.254/latest/meta-data",
        "/file.png": "file:///etc/passwd",
        "/loop.png": "/loop.png",
    }
    assert run(f"{site.url}/l.txt") == {
        "added": 1,
        "skipped": [
            ("l.txt#far.png", "remote"),
            ("l.txt#file.png", "remote"),
            ("l.txt#loop.png", "unreadable"),
            ("l.txt#meta.png", "remote"),
        ],
    }
    assert other_site.requests == []


@pytest.mark.parametrize(
    ("origin", "hosts", "names", "url", "allowed"),
    [
        ("http://a.org/l", [], {"a.org": ["93.184.216.34"]}, "http://a.org/x", True),
        ("http://a.org/l", ["b.org"], {"b.org": ["127.0.0.1"]}, "http://b.org/x", False),
        ("http://a.org/l", ["b.org"], {"b.org": ["8.8.8.8", "10.0.0.1"]}, "http://b.org/", False),
        ("http://a.org/l", [], {"a.org": ["10.0.0.1"]}, "http://a.org/x", True),
        ("http://a.org/l", ["10.0.0.2"], {"10.0.0.2": ["10.0.0.2"]}, "http://10.0.0.2/", True),
        (None, ["169.254.1.1"], {"169.254.1.1": ["169.254.1.1"]}, "http://169.254.1.1/", False),
        (None, ["b.org"], {"b.org": ["192.168.0.1"]}, "http://b.org/x", False),
    ],
)
def test_addresses_of_an_allowed_host(monkeypatch, origin, hosts, names, url, allowed):
    import httpcore

    def refuse(*args, **options):
        raise httpcore.ConnectError("as far as it may come")

    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", refuse)
    web = HttpClient(origin, hosts, lambda host, port: names[host], lambda seconds: None)
    with pytest.raises(UnusableFileError) as error:
        web.get(url, 100)
    assert ("as far as it may come" in error.value.detail) is allowed
    assert ("private address" in error.value.detail) is not allowed


def test_a_name_that_becomes_private_is_refused():
    answers = iter([["93.184.216.34"], ["127.0.0.1"]])
    reach = HostPolicy("http://a.org/l.csv", (), lambda host, port: next(answers))
    assert reach.is_connection_allowed("a.org", 80, reach.resolve("a.org", 80))
    assert not reach.is_connection_allowed("a.org", 80, reach.resolve("a.org", 80))


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "::1",
     "fe80::1", "fc00::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "224.0.0.1"],
)  # fmt: skip
def test_private_addresses(address):
    assert not is_public_address(address)


def test_public_addresses():
    assert is_public_address("93.184.216.34")
    assert is_public_address("2606:2800:220:1:248:1893:25c8:1946")


def test_limits(site, run, make_image):
    site.pages |= {"/l.txt": b"big.png\nempty.png\n500.png\n403.png\n", "/big.png": b"x" * 3000}
    site.pages |= {"/empty.png": b"", "/500.png": 500, "/403.png": 403}
    url = f"{site.url}/l.txt"
    source = open_source(url)
    source._http.sleep = lambda seconds: None
    reasons = {}
    for name in ("big", "empty", "500", "403"):
        with pytest.raises(UnusableFileError) as error:
            source.read(f"{url}#{name}.png", DecodeLimits(max_bytes=2000))
        reasons[name] = error.value.reason, error.value.detail
    assert reasons["big"][0] == "too-large"
    assert reasons["empty"][0] == "empty"
    assert reasons["500"] == ("unreadable", f"{site.url}/500.png: the server answers 500")
    assert "credentials" in reasons["403"][1]
    assert site.requests.count("/500.png") == 3
    source._http.max_seconds = -1.0
    site.pages["/slow.png"] = b"x"
    with pytest.raises(UnusableFileError, match="too slow"):
        source._http.get(f"{site.url}/slow.png", 100)


def test_credentials_are_sent_and_never_stored(site, run, stored, make_image, collection):
    one, two = make_image(1), make_image(2)
    rows = "url,more\nimg?id=1&token=KEY,http://x.org/?sig=KEY\nimg?id=2&token=KEY,\n"
    site.pages["/l.csv"] = rows.replace("KEY", "t0psecret").encode()
    site.pages |= {"/img?id=1&token=t0psecret": one, "/img?id=2&token=t0psecret": two}
    address = f"http://ann:k3yk3y@{site.host}/l.csv?X-Amz-Signature=s1gned"
    assert run(address) == {"added": 2}
    assert all(headers["Authorization"] == "Basic YW5uOmszeWszeQ==" for headers in site.headers)
    assert "/l.csv?X-Amz-Signature=s1gned" in site.requests
    text = str(stored()) + str(run.report)
    text += (collection.index_dir / "catalogue.db").read_bytes().decode("latin-1")
    for secret in ("k3yk3y", "t0psecret", "s1gned", "ann:"):
        assert secret not in text
    site.pages["/l.csv"] = rows.replace("KEY", "xyz").encode()  # signed again
    site.requests.clear()
    assert run(address) == {"unchanged": 2}
    assert len(site.requests) == 1


def test_an_original_is_fetched_only_for_a_known_list(site, other_site, make_image):
    site.pages |= {"/l.txt": f"1.png\n{other_site.url}/2.png\n".encode(), "/1.png": make_image(1)}
    other_site.pages["/2.png"] = make_image(2)
    url = f"{site.url}/l.txt"
    assert read_original([url], f"{url}#1.png", DecodeLimits()) == make_image(1)
    far = f"{url}#{other_site.url}/2.png"
    with pytest.raises(UnusableFileError, match="--allow-host"):
        read_original([url], far, DecodeLimits())
    assert read_original([url], far, DecodeLimits(), [other_site.host]) == make_image(2)
    for path in (f"{site.url}/1.png", f"{url}#../x.png", f"{other_site.url}/2.png"):
        with pytest.raises(UnusableFileError):
            read_original([url], path, DecodeLimits())


def test_invalid_lists(site):
    with pytest.raises(IndexerError, match="folders on the web cannot be listed"):
        open_source("https://example.org/pictures/")
    with pytest.raises(IndexerError, match="is not a URL"):
        open_source(f"{site.url}/l\n.csv").check_readable()
    site.pages["/l.csv"] = b"a,b\n1,2\n"
    with pytest.raises(IndexerError, match="no column names the files; call one of them url"):
        open_source(f"{site.url}/l.csv").check_readable()
    with pytest.raises(IndexerError, match=r"--allow-host: 'https.* is not a host"):
        SourceSet.open([f"{site.url}/l.csv"], SourceOptions(allowed_hosts=("https://x.org/y",)))
    with pytest.raises(IndexerError, match="a file system inside another"):
        open_source("simplecache::http://127.0.0.1/x", SourceOptions()).check_readable()
