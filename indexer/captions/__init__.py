"""What people wrote about a file: sidecars, manifests and the metadata inside an image."""
