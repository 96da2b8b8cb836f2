"""The entry point: `streamlit run app/main.py`. Pages come from layout.py, images from media.py."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from app.media import build_routes

app = st.App(Path(__file__).with_name("layout.py"), routes=build_routes())
