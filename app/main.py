"""The entry point: `streamlit run app/main.py`. Pages come from layout.py, images from media.py."""

from __future__ import annotations

import warnings
from pathlib import Path

import streamlit as st

from app.media import build_routes

warnings.filterwarnings("ignore", module=r"PIL\.")  # about damaged tags of image files
app = st.App(Path(__file__).with_name("layout.py"), routes=build_routes())
