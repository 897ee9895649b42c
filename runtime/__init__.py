"""Running queries: the graph scheduler above, one engine scheduler for each engine below."""
