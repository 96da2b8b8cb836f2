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

URL = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
WITHIN = re.compile(
    r"(?P<container>.+?\.(?:tar|parquet|arrow)|https?://[^#]+\.(?:csv|tsv|jsonl|ndjson|txt))"
    r"#(?P<member>.+)",
    re.DOTALL | re.IGNORECASE,
)
WEB = re.compile(r"\s*https?://\S+\s*", re.IGNORECASE)
USER = re.compile(r"(?<=://)[^/?#]*@")
BRACES = re.compile(r"\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}")
MOST = 100_000  # names that braces may stand for
# what signs a URL or lets somebody in: it changes while the picture stays the same
SECRET = re.compile(
    r"x-(amz|goog|oss|cos)-.*|.*(token|signature|secret|password|credential|api-?_?key).*|"
    r"sig|se|sp|sv|sr|st|spr|ske|skoid|sks|skt|sktid|skv|expires?|policy|key-pair-id|key|auth|jwt|"
    r"awsaccesskeyid|googleaccessid|hdnts|hmac|e|exp|nonce|timestamp|ts",
    re.IGNORECASE,
)


def scheme(address: str) -> str:
    """The scheme of a URL in lower case; "" for a path."""
    match = URL.match(address)
    return match[1].lower() if match else ""


def is_plain(path: str) -> bool:
    """Whether `path` is a file's on this machine, and neither a URL nor within an archive."""
    if "://" in path and URL.match(path):
        return False
    return "#" not in path or not WITHIN.fullmatch(path)


def split(path: str) -> tuple[str, str]:
    """Folder and name of what is at `path`; the folder of an archive's member begins with the
    archive, and a table's row is called after the table."""
    within = WITHIN.fullmatch(path) if "#" in path else None
    if not within:
        return posixpath.split(path)
    container, member = within["container"], within["member"]
    if member.isdigit():
        return container, f"{posixpath.basename(container)}#{member}"
    folder, name = posixpath.split(member)
    return f"{container}#{folder}" if folder else container, name


def continues(path: str, root: str) -> bool:
    """Whether `path` is `root` or lies within it."""
    base = root.rstrip("/")
    return path == root or path.startswith((f"{base}/", f"{base}#"))


def holder(path: str) -> str | None:
    """The archive, table or list that has what is at `path`; None for a file of its own."""
    within = WITHIN.fullmatch(path) if "#" in path else None
    return within["container"] if within else None


def above(path: str) -> Iterator[str]:
    """`path` and all that it may lie within, the nearest first."""
    yield path
    for end in range(len(path) - 1, 0, -1):
        if path[end] in "/#":
            yield path[:end]
            if path[end] == "/":  # the root of a file system, or of a protocol
                yield path[: end + 1]


def clean(address: str) -> str:
    """`address` without what lets somebody in: a password, or the query of a web address."""
    kind = scheme(address)
    if not kind:
        return address
    user = USER.search(address)
    if user and (":" in user[0] or kind in {"http", "https"}):
        address = address[: user.start()] + address[user.end() :]
    if kind in {"http", "https"}:
        address = re.split(r"[?#]", address, maxsplit=1)[0]
    return address if address.endswith("://") else address.rstrip("/")


def picture_name(address: str) -> str:
    """`clean`, with a digest of what in the query tells two pictures of one place apart."""
    told = sorted(
        pair
        for pair in parse_qsl(urlsplit(address).query, keep_blank_values=True)
        if not SECRET.fullmatch(pair[0])
    )
    mark = blake2b(repr(told).encode(), digest_size=6).hexdigest() if told else ""
    return clean(address) + (f"~{mark}" if mark else "")


def without_keys(row: Mapping[str, object]) -> dict[str, object]:
    """A row whose web addresses are `clean`: one that is signed lets anybody in."""
    return {
        key: picture_name(value) if isinstance(value, str) and WEB.fullmatch(value) else value
        for key, value in row.items()
    }


def scrubbed(text: str, address: str) -> str:
    """`text`, as a library wrote it of `address`, without the secrets of that address."""
    parts = urlsplit(address)
    secrets = [parts.password, parts.netloc.rpartition("@")[0] or None, parts.query or None]
    for secret in filter(None, secrets):
        text = text.replace(secret, "***")
    return re.sub(r"(?<=://)[^/\s@]*@", "", re.sub(r"\?[^\s'\"]*=[^\s'\"]*", "?***", text))


def expand(address: str) -> list[str]:
    """`train-{000..099}.tar` and `{a,b}.tar` as the names that they stand for."""
    choices = [_choices(match) for match in BRACES.finditer(address)]
    count = prod(len(choice) for choice in choices)
    if count > MOST:
        raise IndexerError(f"{clean(address)} stands for {count:,} names; the most is {MOST:,}")
    between = BRACES.sub("\0", address).split("\0")
    return [
        "".join(piece for pair in zip(between, (*chosen, ""), strict=True) for piece in pair)
        for chosen in product(*choices)
    ]


def _choices(match: re.Match[str]) -> Sequence[str]:
    first, last, listed = match.groups()
    if listed is not None:
        return str(listed).split(",")
    numbers = range(int(first), int(last) + 1)
    if len(numbers) > MOST:
        raise IndexerError(f"{match[0]} stands for {len(numbers):,} names; the most is {MOST:,}")
    return [f"{number:0{len(first)}}" for number in numbers]
