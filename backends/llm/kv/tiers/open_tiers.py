"""The lower tiers that the options ask for."""

import hashlib
from pathlib import Path

from backends.errors import ConfigError
from backends.llm.kv.stats import CacheStats
from backends.llm.kv.tiers.disk import DiskTier
from backends.llm.kv.tiers.host import HostTier
from backends.llm.kv.tiers.lower_tier_index import LowerTierIndex
from backends.llm.kv.tiers.page_key import PageKeys
from backends.llm.kv.tiers.transfer_worker import PageStore, TransferWorker
from backends.llm.options import LLMOptions


def open_tiers(
    store: PageStore, options: LLMOptions, identity: str, stats: CacheStats
) -> LowerTierIndex | None:
    """None when none is asked for. `identity` names the model by what its weights are. Raises
    ConfigError for a folder that cannot be used."""
    if options.host_kv_tokens is None and options.disk_kv is None:
        return None
    example = store.export_pages([0])  # uint8 [1, bytes]
    page_bytes = example.shape[1]
    layout = f"{type(store).__module__}.{type(store).__qualname__} {getattr(store, 'layout', '')}"
    full_identity = f"{identity} {layout} {page_bytes} bytes {options.page_size} tokens"
    host = None
    if options.host_kv_tokens is not None:
        num_pages = max(1, options.host_kv_tokens // options.page_size)
        host = HostTier(num_pages, page_bytes, is_pinned=example.is_cuda)
    disk = None
    if options.disk_kv is not None:
        name = hashlib.blake2b(full_identity.encode(), digest_size=8).hexdigest()
        folder = Path(options.disk_kv).expanduser() / f"kv-{name}"
        try:
            disk = DiskTier(folder, page_bytes, options.disk_kv_bytes)
        except OSError as error:
            raise ConfigError(f"option disk_kv: {folder} cannot be used: {error}") from error
    worker = TransferWorker(store, page_bytes, host, disk, stats)
    return LowerTierIndex(store, PageKeys(full_identity, options.page_size), worker, stats)
