"""Paths as the catalogue knows them: of a file here, at a URL, or within an archive or a table.

/home/a/cat.jpg    s3://bucket/pets/cat.jpg    https://host/list.csv#pets/cat.jpg
/data/train.tar#pets/cat.jpg                   s3://bucket/train.parquet#00000012
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import product
from math import prod
from urllib.parse import parse_qsl, urlsplit

from indexer.errors import IndexerError

URL_PATTERN = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
MEMBER_PATTERN = re.compile(
    r"(?P<container>.+?\.(?:tar|parquet|arrow)|https?://[^#]+\.(?:csv|tsv|jsonl|ndjson|txt))"
    r"#(?P<member>.+)",
    re.DOTALL | re.IGNORECASE,
)
WEB_URL_PATTERN = re.compile(r"\s*https?://\S+\s*", re.IGNORECASE)
USERINFO_PATTERN = re.compile(r"(?<=://)[^/?#]*@")
BRACES_PATTERN = re.compile(r"\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}")
MAX_EXPANDED_NAMES = 100_000  # names that braces may stand for
# what signs a URL or lets somebody in: it changes while the picture stays the same
SECRET_PARAMETER_PATTERN = re.compile(
    r"x-(amz|goog|oss|cos)-.*|.*(token|signature|secret|password|credential|api-?_?key).*|"
    r"sig|se|sp|sv|sr|st|spr|ske|skoid|sks|skt|sktid|skv|expires?|policy|key-pair-id|key|auth|jwt|"
    r"awsaccesskeyid|googleaccessid|hdnts|hmac|e|exp|nonce|timestamp|ts",
    re.IGNORECASE,
)


def url_scheme(address: str) -> str:
    """The scheme of a URL in lower case; "" for a path."""
    match = URL_PATTERN.match(address)
    return match[1].lower() if match else ""


def is_local_file(path: str) -> bool:
    """Whether `path` is a file's on this machine, and neither a URL nor within an archive."""
    if "://" in path and URL_PATTERN.match(path):
        return False
    return "#" not in path or not MEMBER_PATTERN.fullmatch(path)


def split_path(path: str) -> tuple[str, str]:
    """Folder and name of what is at `path`; the folder of an archive's member begins with the
    archive, and a table's row is called after the table."""
    match = MEMBER_PATTERN.fullmatch(path) if "#" in path else None
    if not match:
        return posixpath.split(path)
    container, member = match["container"], match["member"]
    if member.isdigit():
        return container, f"{posixpath.basename(container)}#{member}"
    folder, name = posixpath.split(member)
    return f"{container}#{folder}" if folder else container, name


def is_within(path: str, root: str) -> bool:
    """Whether `path` is `root` or lies within it."""
    base = root.rstrip("/")
    return path == root or path.startswith((f"{base}/", f"{base}#"))


def container_of(path: str) -> str | None:
    """The archive, table or list that has what is at `path`; None for a file of its own."""
    match = MEMBER_PATTERN.fullmatch(path) if "#" in path else None
    return match["container"] if match else None


def ancestors(path: str) -> Iterator[str]:
    """`path` and all that it may lie within, the nearest first."""
    yield path
    for end in range(len(path) - 1, 0, -1):
        if path[end] in "/#":
            yield path[:end]
            if path[end] == "/":  # the root of a file system, or of a protocol
                yield path[: end + 1]


def redact_url(address: str) -> str:
    """`address` without what lets somebody in: a password, or the query of a web address."""
    protocol = url_scheme(address)
    if not protocol:
        return address
    userinfo = USERINFO_PATTERN.search(address)
    if userinfo and (":" in userinfo[0] or protocol in {"http", "https"}):
        address = address[: userinfo.start()] + address[userinfo.end() :]
    if protocol in {"http", "https"}:
        address = re.split(r"[?#]", address, maxsplit=1)[0]
    return address if address.endswith("://") else address.rstrip("/")


def canonicalize_url(address: str) -> str:
    """`clean`, with a digest of what in the query tells two pictures of one place apart."""
    parameters = sorted(
        pair
        for pair in parse_qsl(urlsplit(address).query, keep_blank_values=True)
        if not SECRET_PARAMETER_PATTERN.fullmatch(pair[0])
    )
    digest = blake2b(repr(parameters).encode(), digest_size=6).hexdigest() if parameters else ""
    return redact_url(address) + (f"~{digest}" if digest else "")


def redact_row_urls(row: Mapping[str, object]) -> dict[str, object]:
    """A row whose web addresses are `clean`: one that is signed lets anybody in."""
    return {
        key: canonicalize_url(value)
        if isinstance(value, str) and WEB_URL_PATTERN.fullmatch(value)
        else value
        for key, value in row.items()
    }


def redact_text(text: str, address: str) -> str:
    """`text`, as a library wrote it of `address`, without the secrets of that address."""
    parts = urlsplit(address)
    secrets = [parts.password, parts.netloc.rpartition("@")[0] or None, parts.query or None]
    for secret in filter(None, secrets):
        text = text.replace(secret, "***")
    return re.sub(r"(?<=://)[^/\s@]*@", "", re.sub(r"\?[^\s'\"]*=[^\s'\"]*", "?***", text))


def expand_braces(address: str) -> list[str]:
    """`train-{000..099}.tar` and `{a,b}.tar` as the names that they stand for."""
    choices = [_brace_choices(match) for match in BRACES_PATTERN.finditer(address)]
    count = prod(len(choice) for choice in choices)
    if count > MAX_EXPANDED_NAMES:
        raise IndexerError(
            f"{redact_url(address)} stands for {count:,} names; the most is {MAX_EXPANDED_NAMES:,}"
        )
    literals = BRACES_PATTERN.sub("\0", address).split("\0")
    return [
        "".join(part for pair in zip(literals, (*chosen, ""), strict=True) for part in pair)
        for chosen in product(*choices)
    ]


def _brace_choices(match: re.Match[str]) -> Sequence[str]:
    first, last, alternatives = match.groups()
    if alternatives is not None:
        return str(alternatives).split(",")
    numbers = range(int(first), int(last) + 1)
    if len(numbers) > MAX_EXPANDED_NAMES:
        raise IndexerError(
            f"{match[0]} stands for {len(numbers):,} names; the most is {MAX_EXPANDED_NAMES:,}"
        )
    return [f"{number:0{len(first)}}" for number in numbers]
