"""Pure work remembered by content, across queries: keys, memory, folder, the gate to engines."""
