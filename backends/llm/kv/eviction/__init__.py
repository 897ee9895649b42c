"""Eviction order when pages run out: a policy is one pure function from a `Use` to a score."""
