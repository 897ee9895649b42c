"""A document store in this process: exact vector search, BM25 and both, in memory or on disk."""
