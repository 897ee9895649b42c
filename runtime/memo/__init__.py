"""Pure work remembered by content, across queries: keys, memory, folder, and the gate to engines."""
