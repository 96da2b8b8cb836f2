"""Fetching the files of lists and tables over HTTP, from allowed hosts only."""
