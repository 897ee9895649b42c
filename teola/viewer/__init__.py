"""The trace viewer: events of a query as spans, what they say, and how a terminal shows it."""
