"""The command line: `teola` and `run-graph`. One file a command; heavy imports inside commands.

Data goes to stdout, all else to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 Ctrl-C.
"""
