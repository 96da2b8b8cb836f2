"""The Streamlit UI: a thin face over the indexer."""
