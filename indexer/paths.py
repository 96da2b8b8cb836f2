"""How contents are named: by ids that follow from their bytes, and by the paths that hold them.

Paths are as the catalog and payloads show them: of a local file, at a URL, or inside a container.

/home/a/cat.jpg    s3://bucket/pets/cat.jpg    https://host/list.csv#pets/cat.jpg
/data/train.tar#pets/cat.jpg                   s3://bucket/train.parquet#00000012
"""

from __future__ import annotations

import os
import posixpath
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

NAMESPACE = uuid.UUID("6f1d2c1e-5f0e-5a53-9a54-706f6c796c65")
URL_PATTERN = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
MEMBER_PATTERN = re.compile(
    r"(?P<container>.+?\.(?:tar|parquet|arrow)|https?://[^#]+\.(?:csv|tsv|jsonl|ndjson|txt))"
    r"#(?P<member>.+)",
    re.DOTALL | re.IGNORECASE,
)
WEB_URL_PATTERN = re.compile(r"\s*https?://\S+\s*", re.IGNORECASE)
USERINFO_PATTERN = re.compile(r"(?<=://)[^/?#]*@")
ESCAPED_BYTE_PATTERN = re.compile(r"\\x([89a-f][0-9a-f])")
# query parameters that sign a URL or grant access: they change while the image stays the same
SECRET_PARAMETER_PATTERN = re.compile(
    r"x-(amz|goog|oss|cos)-.*|.*(token|signature|secret|password|credential|api-?_?key).*|"
    r"sig|se|sp|sv|sr|st|spr|ske|skoid|sks|skt|sktid|skv|expires?|policy|key-pair-id|key|auth|jwt|"
    r"awsaccesskeyid|googleaccessid|hdnts|hmac|e|exp|nonce|timestamp|ts",
    re.IGNORECASE,
)


def hash_content(data: bytes) -> str:
    """The BLAKE3 hash of a file's bytes, in hex."""
    from blake3 import blake3

    return blake3(data).hexdigest()


def make_point_ids(content_id: str, num_chunks: int = 0) -> list[str]:
    """The ids of an image (one) or of a document's chunks (one each), as UUIDv5."""
    names = [f"{content_id}/{i}" for i in range(num_chunks)] if num_chunks else [content_id]
    return [str(uuid.uuid5(NAMESPACE, name)) for name in names]


def display_path(path: str) -> str:
    """Return `path` as payloads and reports show it: bytes that are not UTF-8 become `\\xe9`."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return path


def resolve_display_path(displayed: str) -> str:
    """Return the path that `display_path` showed: unchanged if it exists, else with its bytes."""
    if "\\x" not in displayed or os.path.lexists(displayed):
        return displayed
    return ESCAPED_BYTE_PATTERN.sub(lambda match: chr(0xDC00 + int(match[1], 16)), displayed)


def leads_outside(path: str, folders: Sequence[str] | None) -> bool:
    """Whether the file behind a path, links followed, is in none of `folders` (None: anywhere)."""
    if folders is None:
        return False
    real = Path(os.path.realpath(path))
    return not any(real.is_relative_to(os.path.realpath(folder)) for folder in folders)


def url_scheme(address: str) -> str:
    """Return the scheme of a URL in lower case, or "" for a path."""
    match = URL_PATTERN.match(address)
    return match[1].lower() if match else ""


def is_web(address: str) -> bool:
    """Whether `address` is fetched over HTTP."""
    return url_scheme(address) in {"http", "https"}


def is_local_file(path: str) -> bool:
    """Whether `path` is a file on this machine: not a URL and not inside a container."""
    if "://" in path and URL_PATTERN.match(path):
        return False
    return "#" not in path or not MEMBER_PATTERN.fullmatch(path)


def split_path(path: str) -> tuple[str, str]:
    """Split a path into folder and name.

    The folder of an archive's member starts with the archive; a table's row is named after the
    table.
    """
    match = MEMBER_PATTERN.fullmatch(path) if "#" in path else None
    if not match:
        return posixpath.split(path)
    container, member = match["container"], match["member"]
    if member.isdigit():
        return container, f"{posixpath.basename(container)}#{member}"
    folder, name = posixpath.split(member)
    return f"{container}#{folder}" if folder else container, name


def is_within(path: str, root: str) -> bool:
    """Whether `path` is `root` or lies inside it."""
    base = root.rstrip("/")
    return path == root or path.startswith((f"{base}/", f"{base}#"))


def container_of(path: str) -> str | None:
    """Return the archive, table or list that holds `path`; None for a file of its own."""
    match = MEMBER_PATTERN.fullmatch(path) if "#" in path else None
    return match["container"] if match else None


def ancestors(path: str) -> Iterator[str]:
    """Yield `path` and everything it may lie inside, nearest first."""
    yield path
    for end in range(len(path) - 1, 0, -1):
        if path[end] in "/#":
            yield path[:end]
            if path[end] == "/":  # the root of a file system, or of a protocol
                yield path[: end + 1]


def redact_url(address: str) -> str:
    """Return `address` without what grants access: a password, or the query of a web address."""
    protocol = url_scheme(address)
    if not protocol:
        return address
    web = protocol in {"http", "https"}
    userinfo = USERINFO_PATTERN.search(address)
    if userinfo and (":" in userinfo[0] or web):
        address = address[: userinfo.start()] + address[userinfo.end() :]
    if web:
        address = re.split(r"[?#]", address, maxsplit=1)[0]
    return address if address.endswith("://") else address.rstrip("/")


def canonicalize_url(address: str) -> str:
    """Return the redacted URL plus a digest of the query parameters that are not secrets.

    The digest tells apart two images that only their query distinguishes.
    """
    try:
        query = urlsplit(address).query
    except ValueError:  # such as http://[, which nothing can fetch
        query = ""
    parameters = sorted(
        pair
        for pair in parse_qsl(query, keep_blank_values=True)
        if not SECRET_PARAMETER_PATTERN.fullmatch(pair[0])
    )
    if not parameters:
        return redact_url(address)
    digest = blake2b(repr(parameters).encode(), digest_size=6).hexdigest()
    return f"{redact_url(address)}~{digest}"


def redact_row_urls(row: Mapping[str, object]) -> dict[str, object]:
    """Return `row` with canonical web addresses: a signed URL grants access to anybody."""
    return {
        key: canonicalize_url(value)
        if isinstance(value, str) and WEB_URL_PATTERN.fullmatch(value)
        else value
        for key, value in row.items()
    }


def redact_text(text: str, address: str) -> str:
    """Return a library's message about `address` without the secrets of that address."""
    parts = urlsplit(address)
    secrets = [parts.password, parts.netloc.rpartition("@")[0] or None, parts.query or None]
    for secret in filter(None, secrets):
        text = text.replace(secret, "***")
    return re.sub(r"(?<=://)[^/\s@]*@", "", re.sub(r"\?[^\s'\"]*=[^\s'\"]*", "?***", text))
