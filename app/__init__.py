"""The Streamlit app on top of the indexer."""
