"""What a collection of a given size will need, reckoned before anything is bought."""

from indexer.planning.planner import Plan, Question, plan

__all__ = ["Plan", "Question", "plan"]
