"""BERT encoders: embedders, late interaction, cross-encoders."""
