"""Text from outside in Streamlit's elements, which take Markdown."""

from __future__ import annotations

import streamlit as st


def escape_markdown(text: str) -> str:
    """Escape what Markdown would format, as in the path `a*b*/~c~.jpg`."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]()<>#+-.!|:$~&" else c for c in text)


def show_error(error: Exception | str) -> None:
    """Show what went wrong, as it is written."""
    st.error(escape_markdown(str(error)), icon=":material/error:")
