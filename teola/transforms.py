"""`tl.transforms`: what is made of a text that a semantic function wrote."""

from frontend_dsl.text_transforms import Transform, custom, json_field, regex, split, strip

__all__ = ["Transform", "custom", "json_field", "regex", "split", "strip"]
