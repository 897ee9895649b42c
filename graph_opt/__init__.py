"""The graph of primitives and the passes that rewrite it. Imports nothing else of teola's."""
