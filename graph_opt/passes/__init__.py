"""The passes, one file each: a function of the file's name, from a graph (and facts) to a graph."""
