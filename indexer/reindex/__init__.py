"""A new index of a collection with another model, built beside the active one."""
