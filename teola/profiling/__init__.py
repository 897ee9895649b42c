"""Measures an engine through `Engine.execute`: batch and length doubled until it no longer pays.

An engine is measured alone and by its own clock, so that a fake one under the virtual clock gives
back exactly the latencies it was made with.
"""
