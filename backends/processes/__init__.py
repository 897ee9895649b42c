"""Engines in processes of their own: `process:local:smollm2-135m`."""
