"""From the user's decorated functions to a graph of primitives."""
