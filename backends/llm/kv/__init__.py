"""Keys and values of all tokens. `cache` owns every page, each with its holders.

`page_pool` counts holders, `page_table` is what each holder has and the model reads, `radix` finds
shared prefixes, `holders` changes the three together, `reclaim` takes pages back, `eviction` and
`idle` say what goes first, `pins` what stays, `tiers` keep evicted pages in host memory and on
disk; `pool_size` says how many tokens fit.
"""
