"""What waits at an engine's scheduler: one queue serves every policy."""
