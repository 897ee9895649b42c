"""Several endpoints of one model behind one engine: where each request goes, and failover."""
