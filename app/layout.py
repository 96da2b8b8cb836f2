"""The frame of every page: title, style, navigation, and errors."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from app.permissions import get_permissions, is_guarded
from app.views import library, quality, search
from app.views.messages import show_error
from embedder import EmbedderError
from indexer.errors import IndexerError

HERE = Path(__file__).parent

st.set_page_config(page_title="Polylens", page_icon=str(HERE / "icon.svg"), layout="wide")
st.html(HERE / "style.css")
if not (is_guarded() or st.get_option("global.appTest")):
    # another launcher listens on every address, and checks neither hosts nor logins
    st.error("Start the app with this command:")
    st.code("polylens app", language="sh")
    st.stop()
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
logout_url = get_permissions().logout_url
if logout_url:
    st.html(f'<a class="pl-logout" href="{logout_url}" target="_self">Log out</a>')
try:
    st.navigation(list(pages.values()), position="top").run()
except (IndexerError, EmbedderError) as error:
    show_error(error)
