"""Tool calls: the formats that models write them in, and the one turn that all engines give."""
