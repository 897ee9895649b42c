"""Which waiting requests form the next batch: pure functions (waiting, room, now) -> choice."""
