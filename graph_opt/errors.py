"""What is raised when a plan is wrong."""


class GraphError(ValueError):
    """The graph is not well formed, or a pass broke it; names the node and the user's line."""
