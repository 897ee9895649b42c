"""Documents in PostgreSQL: vectors by pgvector, words and filters in SQL."""
