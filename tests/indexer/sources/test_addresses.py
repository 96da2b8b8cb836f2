"""Which addresses a list of URLs may lead to, however written, and how long a file may take."""

from __future__ import annotations

import ipaddress
import time

import pytest

from indexer.errors import IndexerError, UnusableFileError
from indexer.sources.allowlist import (
    HostPolicy,
    is_link_local_address,
    is_public_address,
    parse_allowed_hosts,
)
from indexer.sources.http_client import HttpClient
from tests import slow_server

INNER = {  # IPv4 addresses that are not public, and one that is
    "127.0.0.1": False, "10.1.2.3": False, "169.254.169.254": False, "192.168.0.1": False,
    "0.0.0.0": False, "0.1.2.3": False, "100.64.0.1": False, "100.127.255.255": False,
    "192.0.0.1": False, "192.0.0.9": False, "192.88.99.1": False, "198.18.0.1": False,
    "198.19.255.255": False, "224.0.0.1": False, "239.1.2.3": False, "240.0.0.1": False,
    "255.255.255.255": False, "192.0.2.1": False, "93.184.216.34": True,
}  # fmt: skip
WRAPPERS = {  # IPv6 addresses that hold an IPv4 one
    "mapped": lambda v4: f"::ffff:{v4}",
    "compatible": lambda v4: f"::{v4}",
    "translated": lambda v4: f"::ffff:0:{v4}",
    "NAT64": lambda v4: f"64:ff9b::{v4}",
    "6to4": lambda v4: str(ipaddress.IPv6Address(0x2002 << 112 | int(v4) << 80 | 1)),
    "Teredo's client": lambda v4: str(
        ipaddress.IPv6Address(0x20010000 << 96 | 0x5DB8D822 << 64 | int(v4) ^ 0xFFFFFFFF)
    ),
    "Teredo's server": lambda v4: str(
        ipaddress.IPv6Address(0x20010000 << 96 | int(v4) << 64 | 0x5DB8D822 ^ 0xFFFFFFFF)
    ),
    "ISATAP": lambda v4: str(ipaddress.IPv6Address(0x26062800 << 96 | 0x00005EFE << 32 | int(v4))),
    "ISATAP, global": lambda v4: str(
        ipaddress.IPv6Address(0x26062800 << 96 | 0x02005EFE << 32 | int(v4))
    ),
}


@pytest.mark.parametrize(("address", "public"), INNER.items())
def test_an_address_counts_as_what_it_contains(address, public):
    assert is_public_address(address) == public
    v4 = ipaddress.IPv4Address(address)
    for name, wrap in WRAPPERS.items():
        if int(v4) > 1 or name != "compatible":  # :: and ::1 are others
            assert is_public_address(wrap(v4)) == public, name


@pytest.mark.parametrize(
    "address",
    [
        "::", "::1", "fec0::1", "feff::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254",
        "ff02::1", "100::1", "2001:db8::1", "4000::1", "64:ff9b:1::1",
        "64:ff9b:1::5db8:d822", "2001:20::1",
    ],
)  # fmt: skip
def test_other_addresses_that_are_not_public(address):
    assert not is_public_address(address)


def test_the_addresses_of_the_metadata_of_clouds_are_never_reached():
    """Not from a list on a private network either, whose other hosts may be private."""
    policy = HostPolicy("http://10.0.0.5/list.txt", ["other:80"], lambda *_: [])
    assert policy.is_connection_allowed("10.0.0.5", 80, ["10.0.0.5"])
    assert policy.is_connection_allowed("other", 80, ["10.0.0.6"])
    v4 = ipaddress.IPv4Address("169.254.169.254")
    for address in (
        str(v4),
        "fe80::1%eth0",
        "64:ff9b:1::a9fe:a9fe",
        *(w(v4) for w in WRAPPERS.values()),
    ):
        assert is_link_local_address(address), address
        assert not policy.is_connection_allowed("other", 80, [address])


def test_one_private_address_among_several_is_enough():
    policy = HostPolicy("http://lists.example/a.txt", (), lambda *_: [])
    public = ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"]
    assert policy.is_connection_allowed("lists.example", 80, public)
    policy = HostPolicy("http://lists.example/a.txt", ["b.example"], lambda *_: [])
    assert not policy.is_connection_allowed("b.example", 80, [*public, "::ffff:10.0.0.1"])


@pytest.mark.parametrize(
    "host", ["2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "0", "127.0.0.1."]
)
def test_other_spellings_of_this_machine_are_refused(host):
    """The resolver reads them as addresses; a public list may not lead there."""
    url = f"http://{host}:9/"
    with pytest.raises(UnusableFileError, match=r"not fetched|not a URL"):
        HttpClient("https://93.184.216.34/list.txt").get(url, 10)
    allowing = HttpClient("https://93.184.216.34/list.txt", [f"{host}:9"])
    with pytest.raises(UnusableFileError, match=r"private address|was not found|not a URL"):
        allowing.get(url, 10)


@pytest.mark.parametrize(
    ("text", "host", "ports"),
    [
        ("::1:8080", "::1", {8080}),
        ("[::1]:8080", "::1", {8080}),
        ("[::1]", "::1", {80, 443}),
        ("::1", "::1", {80, 443}),
        ("[0:0::1]:80", "::1", {80}),
        ("2001:db8::5", "2001:db8::5", {80, 443}),
        ("[2001:db8::5]:8080", "2001:db8::5", {8080}),
        ("1:2:3:4:5:6:7:8:443", "1:2:3:4:5:6:7:8", {443}),
        ("images.example.org", "images.example.org", {80, 443}),
        ("Images.Example.org.:8080", "images.example.org", {8080}),
        ("bücher.example", "xn--bcher-kva.example", {80, 443}),
        ("straße.example", "xn--strae-oqa.example", {80, 443}),
        ("127.0.0.1:80", "127.0.0.1", {80}),
    ],
)
def test_hosts_that_are_allowed(text, host, ports):
    assert parse_allowed_hosts([text]) == {(host, port) for port in ports}
    policy = HostPolicy(None, [text], lambda *_: [])
    shown = f"[{host}]" if ":" in host else host
    for port in ports:
        policy.check_url(f"http://{shown}:{port}/a.png")
    with pytest.raises(UnusableFileError, match="--allow-host"):
        policy.check_url(f"http://{shown}:1/a.png")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2001:db8::5:8080", r"\[2001:db8::5\]:8080 for a port, or \[2001:db8::5:8080\]"),
        ("host:0", "from 1 to 65535"),
        ("host:65536", "from 1 to 65535"),
        ("host:", "expected a host"),
        ("host:http", "expected a host"),
        ("[::1", "expected a host"),
        ("[::1]8080", "expected a host"),
        ("[host]:80", "expected a host"),
        ("a:b:c", "expected a host"),
        ("http://host", "expected a host"),
        ("me@host", "expected a host"),
        ("host/path", "expected a host"),
        ("*.example.org", "expected a host"),
        ("", "expected a host"),
    ],
)
def test_hosts_that_are_wrong(text, expected):
    with pytest.raises(IndexerError, match=f"--allow-host: .*{expected}"):
        parse_allowed_hosts([text])


def test_a_refused_host_is_named_as_it_can_be_allowed():
    policy = HostPolicy(None, (), lambda *_: [])
    with pytest.raises(UnusableFileError) as error:
        policy.check_url("http://[::1]:8080/a.png")
    allowed = error.value.detail.rpartition("--allow-host ")[2]
    assert parse_allowed_hosts([allowed]) == {("::1", 8080)}


# the time limit

LIMIT = 0.3  # seconds


@pytest.mark.parametrize("name", slow_server.DRIPS)
def test_a_server_that_drips_is_given_up(name):
    with slow_server.serve(slow_server.drip(name)) as url:
        client = HttpClient(url, max_seconds=LIMIT)
        began = time.monotonic()
        with pytest.raises(UnusableFileError, match="too slow; it had"):
            client.get(f"{url}/a.png", 10_000)
    assert time.monotonic() - began < 5 * LIMIT


def test_redirects_and_retries_share_one_limit():
    def redirect(connection) -> None:
        time.sleep(0.15)
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n")

    def fail(connection) -> None:
        time.sleep(0.15)
        connection.sendall(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")

    for answer in (redirect, fail):
        with slow_server.serve(answer) as url:
            client = HttpClient(url, max_seconds=LIMIT, sleep=lambda _: time.sleep(0.1))
            began = time.monotonic()
            with pytest.raises(UnusableFileError, match="too slow"):
                client.get(f"{url}/a.png", 10)
        assert time.monotonic() - began < 2 * LIMIT
