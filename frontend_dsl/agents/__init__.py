"""Agents: a model with instructions, tools and an answer type, called like an app."""
