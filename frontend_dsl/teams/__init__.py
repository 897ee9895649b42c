"""Teams: forms in which agents work together, each an app."""
