"""How many tokens of KV a pool on the CPU has: as many as model and memory allow."""

from backends.errors import ConfigError, EngineUnavailable

MOST_TOKENS = 24576  # KV that is never written takes no memory, so a small model has all of them
_SHARE = 4  # of the memory that is left goes to KV, where nothing was asked for
_LEAST_TOKENS = 512
_GIB = 1 << 30


def cpu_kv_tokens(asked: int | None, token_bytes: int, available: int | None) -> int:
    """`available` are the bytes that this process may still take; None: nobody knows. Raises
    ConfigError for what was asked for and does not fit, EngineUnavailable where nothing fits."""
    if available is None:
        return asked or MOST_TOKENS
    if asked is not None:
        if asked * token_bytes > available:
            raise ConfigError(
                f"kv_tokens={asked} takes {asked * token_bytes / _GIB:.1f} GiB, and "
                f"{available / _GIB:.1f} GiB of memory are left: at most "
                f"{available // token_bytes} fit"
            )
        return asked
    tokens = min(MOST_TOKENS, available // _SHARE // token_bytes)
    if tokens < _LEAST_TOKENS:
        raise EngineUnavailable(
            f"{available / _GIB:.1f} GiB of memory are left, of which a quarter holds the KV of "
            f"{tokens} tokens, {token_bytes} bytes each: free some memory, take a smaller model, "
            "or set the option kv_tokens"
        )
    return tokens
