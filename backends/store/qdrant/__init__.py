"""Documents in qdrant: on a server, or in this process."""
