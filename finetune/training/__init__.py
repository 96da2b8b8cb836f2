"""Training: recipes, losses, the trainer, and the folder of a run."""
