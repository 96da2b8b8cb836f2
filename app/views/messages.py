"""Messages and tables with text from outside, shown as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from embedder.escaping import escape_cell, escape_markdown


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
