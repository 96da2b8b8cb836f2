"""The program `embedder`, and what the console scripts share."""
