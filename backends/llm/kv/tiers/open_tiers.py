"""The lower tiers that the options ask for."""

import hashlib
from pathlib import Path
from typing import Protocol

from backends.errors import ConfigError
from backends.llm.kv.eviction import POLICIES
from backends.llm.kv.tiers.disk import DiskTier
from backends.llm.kv.tiers.host import HostTier
from backends.llm.kv.tiers.kv_folder import KVFolder
from backends.llm.kv.tiers.page_codec import PageCodec, Quantized, Raw
from backends.llm.kv.tiers.page_key import PageKeys
from backends.llm.kv.tiers.quantizers import QUANTIZERS
from backends.llm.kv.tiers.tier_transfer import LowerTierIndex, TierTransfer
from backends.llm.kv.tiers.transfer_worker import PageStore, TransferWorker
from backends.llm.model.page_layout import HasPageLayout
from backends.llm.options import LLMOptions
from backends.llm.stats import CacheStats


class HasLayout(Protocol):
    """A model."""

    @property
    def layout(self) -> str: ...


def open_tiers(
    store: PageStore, options: LLMOptions, identity: str, model: HasLayout, stats: CacheStats
) -> TierTransfer | None:
    """None when none is asked for. `identity` names the model by what its weights are. Raises
    ConfigError for a folder that cannot be used."""
    if options.host_kv_tokens is None and options.disk_kv is None:
        return None
    example = store.export_pages([0])  # uint8 [1, bytes]
    page_bytes = example.shape[1]
    form, _, version = model.layout.partition(" @ ")
    codec = _codec(store, options, page_bytes)
    name = f"{identity} {form} {page_bytes} bytes {options.page_size} tokens {codec.name}".rstrip()
    secret = b""
    host = None
    if options.host_kv_tokens is not None:
        num_pages = max(1, options.host_kv_tokens // options.page_size)
        row_bytes = None if codec.name else page_bytes
        policy = POLICIES[options.eviction]
        host = HostTier(num_pages, row_bytes, example.is_cuda, policy)
    disk = None
    if options.disk_kv is not None:
        root = Path(options.disk_kv).expanduser()
        try:
            shared = KVFolder(root, _hex(name), _hex(version), options.disk_kv_bytes)
            disk = DiskTier(shared, codec.num_bytes)
        except OSError as error:
            raise ConfigError(f"option disk_kv: {root} cannot be used: {error}") from error
        secret = shared.secret
    worker = TransferWorker(store, page_bytes, codec, host, disk, stats)
    keys = PageKeys(f"{name} {version}", options.page_size, secret)
    return TierTransfer(LowerTierIndex(store, keys, worker, stats))


def _codec(store: PageStore, options: LLMOptions, page_bytes: int) -> PageCodec:
    if options.kv_tier_format == "raw":
        return Raw(page_bytes)
    if not isinstance(store, HasPageLayout):
        raise ConfigError(
            f"option kv_tier_format={options.kv_tier_format!r}: this model's pages hold no numbers;"
            " take 'raw'"
        )
    return Quantized(store.page_layout, QUANTIZERS[options.kv_tier_format])


def _hex(name: str) -> str:
    return hashlib.blake2b(name.encode(), digest_size=8).hexdigest()
