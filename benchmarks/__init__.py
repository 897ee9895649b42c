"""Scripts that measure; results with commit and machine stand in RESULTS.md."""
