"""In which order an engine serves what waits: a policy is a few pure keys, one queue serves all."""
