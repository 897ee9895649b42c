"""Models on this machine: which there are, where they lie, how to fetch them."""
