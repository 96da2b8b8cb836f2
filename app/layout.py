"""The frame of every page: title, style, navigation, and errors."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from app.views import library, quality, search
from app.views.messages import show_error
from embedder import EmbedderError
from indexer.errors import IndexerError

HERE = Path(__file__).parent

st.set_page_config(page_title="Polylens", page_icon=str(HERE / "icon.svg"), layout="wide")
st.html(HERE / "style.css")
pages = {
    "search": st.Page(
        search.show, title="Search", icon=":material/search:", url_path="", default=True
    ),
    "library": st.Page(
        library.show, title="Library", icon=":material/photo_library:", url_path="library"
    ),
    "quality": st.Page(
        quality.show, title="Quality", icon=":material/monitoring:", url_path="quality"
    ),
}
st.session_state["pages"] = pages  # so that one page can lead to the other
try:
    st.navigation(list(pages.values()), position="top").run()
except (IndexerError, EmbedderError) as error:
    show_error(error)
