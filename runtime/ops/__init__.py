"""What each op means at run time: a file an op, gathered in `table.OP_RUNS`."""
