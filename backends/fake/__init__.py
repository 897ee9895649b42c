"""Deterministic, scripted engines for tests: no weights, no threads, no network.

They answer at once or after a stated latency on the running loop's clock, so that a schedule
under the virtual clock is exact and repeatable.
"""
