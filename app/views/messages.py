"""Messages and tables with text from outside, shown as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from embedder.escaping import escape_cell, escape_markdown

KEPT_KEY = "kept-error"  # in the session state


def keep_error(error: Exception) -> None:
    """Keep an error of a callback, which runs before the page, for `show_kept_error`."""
    st.session_state[KEPT_KEY] = error


def show_kept_error() -> None:
    """Show the error that a callback kept, once."""
    if error := st.session_state.pop(KEPT_KEY, None):
        show_error(error)


def show_error(error: Exception | str) -> None:
    """Show what went wrong, as it is written."""
    st.error(escape_markdown(str(error)), icon=":material/error:")


def show_table(rows: Sequence[Mapping[str, object]]) -> None:
    """Show a table, which visitors may download as CSV."""
    safe = [
        {escape_cell(k): escape_cell(v) if isinstance(v, str) else v for k, v in row.items()}
        for row in rows
    ]
    st.dataframe(safe, hide_index=True)
