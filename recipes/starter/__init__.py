"""Makes the starter's head from registry packages: `python -m recipes.starter`."""
