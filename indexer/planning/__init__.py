"""What a collection of a given size will need, reckoned before anything is bought."""

from indexer.planning.planner import DeploymentPlan, PlanRequest, plan

__all__ = [
    "DeploymentPlan",
    "PlanRequest",
    "plan",
]
