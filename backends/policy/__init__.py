"""In which order requests are served: a policy is a few pure keys, for schedulers and engines."""
