"""The token state of one request, from prompt to result."""
