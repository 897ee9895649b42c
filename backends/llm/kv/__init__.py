"""Keys and values of all tokens: pages, radix cache, eviction, lower tiers."""
