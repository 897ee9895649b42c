"""From a URL to an engine: `kind` and scheme name a lazy factory.

Third parties add schemes by an entry point in the group `teola.engines`: its name is
`kind.scheme` (`llm.acme`), its object a function `(kind, url, options) -> Engine`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast, get_args

from backends.base import Engine, Kind
from backends.errors import ConfigError
from backends.url_options import BETWEEN_INSTANCES, instances_in, split_url

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from backends.service_options import ServiceOptions

ENTRY_POINT_GROUP = "teola.engines"

_PASSWORD = re.compile(r"//[^/@\s]*:[^/@\s]*@|[?&](ssl)?password=")  # in a URL

Factory = Callable[[str, str, Mapping[str, Any]], Engine]

_SEVERAL = "backends.remote.routing.open_instances:open_instances"
REMOTE = "backends.remote.factory:create"  # its schemes take +http and +https: vllm+https://

FACTORIES: dict[str, str] = {
    "llm.local": "backends.llm.factory:create",
    "llm.hf": "backends.llm.factory:create",
    "embedder.local": "backends.embedder.factory:create",
    "embedder.hf": "backends.embedder.factory:create",
    "reranker.local": "backends.reranker.factory:create",
    "reranker.hf": "backends.reranker.factory:create",
    "store.local": "backends.store.factory:create",
    "store.postgresql": "backends.store.postgres.factory:create",
    "store.postgres": "backends.store.postgres.factory:create",
    "store.qdrant": "backends.store.qdrant.factory:create",
    "store.qdrant+https": "backends.store.qdrant.factory:create",
    "python.python": "backends.tools.factory:create",
    **{
        f"{kind}.process": "backends.processes.factory:create"
        for kind in ("llm", "embedder", "reranker")
    },
    "llm.emulated": "backends.emulated.factory:create",
    "embedder.emulated": "backends.emulated.factory:create",
    "reranker.emulated": "backends.emulated.factory:create",
    "llm.fake": "backends.fake.factory:create",
    "embedder.fake": "backends.fake.factory:create",
    "reranker.fake": "backends.fake.factory:create",
    "store.fake": "backends.fake.factory:create",
    "python.fake": "backends.fake.factory:create",
    **{
        f"{kind}.{scheme}": REMOTE
        for kind in ("llm", "embedder", "reranker")
        for scheme in ("sglang", "vllm", "openai", "ollama", "teola")
    },
}


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """Which engine an app wants: enough to make one, and to tell two apart. Options in the URL are
    taken out of it (`backends.url_options`). Raises ConfigError for one that is said twice."""

    kind: Kind
    url: str
    options: Mapping[str, Any] = field(default_factory=dict)
    instance: int | None = None  # set: an engine of its own, however alike its neighbours are
    stands_for: "EngineSpec | None" = field(default=None, compare=False)  # in a test

    def __post_init__(self) -> None:
        if "?" in self.url:
            url, options = split_url(self.kind, self.url, self.options)
            object.__setattr__(self, "url", url)
            object.__setattr__(self, "options", options)

    @property
    def key(self) -> str:
        """Equal for specs that one engine can serve."""
        options = sorted(self.options.items(), key=lambda kv: kv[0])
        return repr((self.kind, self.url, options, self.instance))


def create(spec: EngineSpec) -> Engine:
    """Make the engine of `spec`, not yet started. Raises ConfigError for an unknown scheme."""
    factory = find_factory(spec.kind, spec.url)
    return factory(spec.kind, spec.url, _split(spec)[1])


def service_of(spec: EngineSpec) -> "ServiceOptions":
    """What the runtime does about an engine of `spec` that fails or is too busy. Raises ConfigError
    for a wrong value."""
    return _split(spec)[0]


def _split(spec: EngineSpec) -> "tuple[ServiceOptions, dict[str, Any]]":
    from backends.service_options import split_options  # late: pydantic

    is_client = is_server(spec.kind, spec.url)
    return split_options(spec.kind, spec.url, spec.options, is_server=is_client)


def check_scheme(kind: str, url: str) -> str:
    """`kind.scheme` of a URL, without loading an engine.

    Raises ConfigError, with the known schemes, if nobody serves it, and for a server's URL that is
    wrong.
    """
    if _PASSWORD.search(url):
        scheme = url.partition(":")[0]
        raise ConfigError(
            f"the URL of a {scheme}: {kind} engine holds a password, and URLs are shown in traces; "
            "secrets come from the environment"
        )
    if BETWEEN_INSTANCES in url and kind in ("llm", "embedder", "reranker"):
        first, *_ = [check_scheme(kind, one) for one in instances_in(url)]
        return first
    scheme, colon, _ = url.partition(":")
    if not colon:
        raise ConfigError(
            f"{kind} engine {url!r} has no scheme; write one of {_known(kind)}, "
            f"for example 'local:{url}'"
        )
    name = f"{kind}.{scheme}"
    plain = name.partition("+")[0]
    if FACTORIES.get(plain) == REMOTE:
        name = plain
        if url.startswith(f"{scheme}://"):
            import_module("backends.remote.url").parse_url(url)
    if name not in FACTORIES and name not in _added():
        server = "; for a server with OpenAI's API write openai://HOST:PORT/v1/MODEL"
        raise ConfigError(
            f"unknown scheme {scheme!r} in {kind} engine {url!r}; known: {_known(kind)}"
            + (server if scheme in ("http", "https") else "")
        )
    return name


def schemes() -> dict[str, list[Kind]]:
    """The schemes of URLs, each with its kinds of engines, in the order of `Kind`."""
    names = [*FACTORIES, *_added()]
    return {
        scheme: [kind for kind in get_args(Kind) if f"{kind}.{scheme}" in names]
        for scheme in dict.fromkeys(name.split(".", 1)[1] for name in names)
        if scheme != "python"  # of tools, which no URL names
    }


def is_server(kind: str, url: str) -> bool:
    """Whether a URL names servers of one scheme, whose engine sends again by itself."""
    name = check_scheme(kind, url)
    return BETWEEN_INSTANCES not in url and FACTORIES.get(name) == REMOTE


def find_factory(kind: str, url: str) -> Factory:
    """The factory for the scheme of `url`; an entry point goes before a built-in scheme."""
    name = check_scheme(kind, url)
    if BETWEEN_INSTANCES in url:
        place = _SEVERAL
    elif name in _added():
        return cast(Factory, _added()[name].load())
    else:
        place = FACTORIES[name]
    module, _, attribute = place.partition(":")
    return cast(Factory, getattr(import_module(module), attribute))


def _known(kind: str) -> str:
    names = {*FACTORIES, *_added()}
    schemes = sorted(name.split(".", 1)[1] for name in names if name.startswith(f"{kind}."))
    return ", ".join(f"{scheme}:" for scheme in schemes)


@cache
def _added() -> "Mapping[str, EntryPoint]":
    from importlib.metadata import entry_points  # late: 20 ms that most imports can do without

    return {entry.name: entry for entry in entry_points(group=ENTRY_POINT_GROUP)}
