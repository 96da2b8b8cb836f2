"""Estimates what a collection of a given size needs, before you buy hardware."""

from indexer.planning.planner import DeploymentPlan, PlanRequest, plan

__all__ = ["DeploymentPlan", "PlanRequest", "plan"]
