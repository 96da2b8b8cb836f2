"""The app's own Streamlit components, and the route of their JavaScript modules.

A component is the text of a module. It imports the real one by its URL, so that modules can import
each other, and browsers keep them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from indexer.paths import hash_content

if TYPE_CHECKING:
    from streamlit.components.v2.types import ComponentRenderer

ASSETS = Path(__file__).with_name("assets")
HEADERS = {"Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff"}
LOADER = """
const module = await import(new URL("assets/{name}", document.baseURI));
export default module.default;
"""


def build_routes() -> Sequence[BaseRoute]:
    return [Route("/assets/{name}", serve_module)]


def make_component(name: str) -> ComponentRenderer:
    """Make a component of the module `NAME.js`; its styles are those of the page."""
    js = LOADER.replace("{name}", f"{name}.js")
    return st.components.v2.component(f"polylens_{name}", js=js, isolate_styles=False)


def serve_module(request: Request) -> Response:
    """`GET /assets/NAME.js`. A new release has a new ETag, so that no browser mixes two."""
    module = _read_modules().get(request.path_params["name"])
    if module is None:
        raise HTTPException(404)
    text, etag = module
    headers = {**HEADERS, "ETag": etag}
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(text, media_type="text/javascript", headers=headers)


@cache
def _read_modules() -> dict[str, tuple[bytes, str]]:
    """Name -> the text of a module and its ETag."""
    modules = {path.name: path.read_bytes() for path in ASSETS.glob("*.js")}
    return {name: (text, f'"{hash_content(text)[:32]}"') for name, text in modules.items()}
