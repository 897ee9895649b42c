"""Rate limits of an engine's API: a budget over all queries that the scheduler plans with."""
