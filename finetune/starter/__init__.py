"""Makes the starter's head from registry packages: `python -m finetune.starter`."""
