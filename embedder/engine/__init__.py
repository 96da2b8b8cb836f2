"""Runs a backbone: batches by cost, work ahead of the device, memory that runs out."""
