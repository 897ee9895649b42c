"""Applications that arrive at random, for comparing policies in virtual time."""
