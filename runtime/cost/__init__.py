"""What primitives cost: estimated sizes of values over measured latencies of engines."""
