"""Takes collections from place to place, and into one file and back."""
