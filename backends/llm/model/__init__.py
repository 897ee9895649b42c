"""The model of a step: configuration, weights, one ragged batch."""
