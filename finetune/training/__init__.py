"""Training: recipes, losses, the trainer, and what a run writes."""
