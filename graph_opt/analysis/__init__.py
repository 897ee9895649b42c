"""The analyses, one file each: facts about a graph, which they leave as it is."""
