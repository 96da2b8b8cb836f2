"""Training: recipes, losses, the trainer, and what a run writes."""

from embedder.extras import require_extra

require_extra("finetune")
