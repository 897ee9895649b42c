"""The passes, one file each: a function `Graph -> Graph` of the file's name."""
