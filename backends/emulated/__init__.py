"""Engines that take the time of a GPU and compute nothing: see `roofline`."""
