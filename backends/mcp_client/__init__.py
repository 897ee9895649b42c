"""The client side of the Model Context Protocol, over the official SDK (extra `mcp`)."""
