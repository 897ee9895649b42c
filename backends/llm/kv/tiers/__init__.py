"""Lower tiers of the KV pool: evicted pages in host memory and on disk, keyed by content.

A page's key is a digest of everything its KV depends on: model, layout, namespace and all tokens
up to its last. So a page is written once, may be found by any sequence, process or restart, and a
wrong one cannot be found. One thread moves pages; the engine's own thread waits for it only in
`flush` and `close`, and where nothing else can run.
"""
