"""Which servers a URL names, and which of their models.

    scheme[+http|+https]://host[:port][,host[:port]...][/base/v1][/model][?tls=1][&model=NAME]

All else after the ? is an option of the engine: `?tokenizer=smollm2-135m&concurrency=8`.
`openai:MODEL` and `openai:///MODEL` are a model of api.openai.com. A key in a URL is refused.
"""

import ipaddress
import re
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args
from urllib.parse import parse_qsl, unquote

from backends.errors import ConfigError
from backends.url_options import json_or_text

Scheme = Literal["sglang", "vllm", "openai", "ollama", "teola"]

_DEFAULT_PORTS: dict[str, int] = {"sglang": 30000, "vllm": 8000, "ollama": 11434, "teola": 30000}
_PRIVATE_ENDS = (".localhost", ".local", ".internal", ".lan", ".home.arpa")
_VERSION = re.compile(r"v\d+((alpha|beta)\d*)?")
_SECRETS = {"api_key", "apikey", "api-key", "key", "token", "access_token", "password", "secret"}
_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[^\s:\[\]/?#]+)(:(?P<port>\d{1,5}))?")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One server: `root` is what its own paths follow, `api` stands for the path /v1."""

    scheme: Scheme
    root: str  # "http://localhost:8000", without a slash at its end
    api: str  # "http://localhost:8000/v1"
    is_private: bool = True  # by its name or address: on this machine or in a private network
    is_tls_chosen: bool = False  # the URL says whether TLS is spoken

    @property
    def is_tls(self) -> bool:
        return self.root.startswith("https:")

    def url_of(self, path: str) -> str:
        """The URL of a path, which begins with a slash."""
        if path == "/v1" or path.startswith("/v1/"):
            return self.api + path.removeprefix("/v1")
        return self.root + path


@dataclass(frozen=True, slots=True)
class RemoteURL:
    """What an engine's URL says."""

    text: str
    scheme: Scheme
    endpoints: tuple[Endpoint, ...]
    model: str | None  # None: the only one that the server lists
    options: tuple[tuple[str, Any], ...] = ()  # of the engine, JSON values or else texts


def parse_url(text: str) -> RemoteURL:
    """Raises ConfigError, which never repeats what stands before an @."""
    whole_scheme, _, rest = text.partition(":")
    scheme, plus, over = whole_scheme.partition("+")
    if scheme not in get_args(Scheme) or (plus and over not in ("http", "https")):
        raise ConfigError(f"{text!r} names no server; write {'://, '.join(get_args(Scheme))}://")
    if not rest.startswith("//"):
        return _by_model_name(text, scheme, rest)
    rest, _, query = rest[2:].partition("?")
    authority, _, path = rest.partition("/")
    if "@" in authority:
        raise ConfigError(
            f"a {scheme}:// URL holds a user name or a key before an @; name the environment "
            "variable that holds the key with the option api_key_env instead"
        )
    settings = _settings_of(text, query)
    tls = settings.get("tls", over or None)
    model = settings.get("model")
    base, path_model = (path, None) if model else _split_path(path)
    _check_slashes(text, base)
    if not authority and scheme != "openai":
        raise ConfigError(f"{text!r} names no host; write {scheme}://localhost")
    if authority and scheme == "openai" and not path and _is_name_of_model(authority):
        raise ConfigError(
            f"{text!r} names a host; for a model of OpenAI write openai:{authority}, and for a "
            f"host of your own its port: openai://{authority}:PORT"
        )
    hosts = authority.split(",") if authority else ["api.openai.com"]
    endpoints = tuple(_endpoint(text, scheme, host, tls, base.strip("/")) for host in hosts)
    if len(set(endpoints)) < len(endpoints):
        raise ConfigError(f"{text!r} names an endpoint twice")
    options = tuple((n, json_or_text(v)) for n, v in settings.items() if n not in ("tls", "model"))
    return RemoteURL(text, cast(Scheme, scheme), endpoints, model or path_model, options)


def _is_name_of_model(authority: str) -> bool:
    """As gpt-4.1-mini is. A host whose name is one such word needs a port."""
    last = authority.rpartition(".")[2]
    is_domain = last != authority and last.isalpha()
    return bool(re.fullmatch(r"[\w.]*-[\w.-]*", authority) and re.search(r"\d", authority)) and (
        not is_domain
    )


def _by_model_name(text: str, scheme: str, model: str) -> RemoteURL:
    if scheme != "openai" or not model:
        raise ConfigError(f"{text!r} names no host; write {scheme}://HOST:PORT/MODEL")
    return parse_url(f"openai:///{model}")


def _settings_of(text: str, query: str) -> dict[str, str]:
    pairs = parse_qsl(query, keep_blank_values=True)
    found = dict(pairs)
    if secrets := sorted(found.keys() & _SECRETS):
        raise ConfigError(
            f"an engine's URL has no {secrets[0]}; name the environment variable that holds it "
            "with the option api_key_env"
        )
    if len(found) < len(pairs):
        raise ConfigError(f"{text!r} says something twice after its ?")
    tls = found.get("tls")
    if tls is not None:
        if tls not in ("0", "1"):
            raise ConfigError(f"{text!r}: tls is 1 or 0, not {tls!r}")
        found["tls"] = "https" if tls == "1" else "http"
    if found.get("model") == "":
        raise ConfigError(f"{text!r}: model is empty")
    return found


def _split_path(path: str) -> tuple[str, str | None]:
    """The base, up to a version such as v1, and the model. `//` begins a model that is a path."""
    parts = path.split("/")
    end = 0
    if not path.startswith("/"):
        end = next((i + 1 for i, part in enumerate(parts) if _VERSION.fullmatch(part)), 0)
    model = "/".join(parts[end:]).rstrip("/")
    return "/".join(parts[:end]), unquote(model) or None


def _check_slashes(text: str, base: str) -> None:
    if "//" in base or ".." in base.split("/"):
        raise ConfigError(f"{text!r}: {base!r} is no path of a server")


def _endpoint(text: str, scheme: str, authority: str, tls: str | None, base: str) -> Endpoint:
    match = _AUTHORITY.fullmatch(authority)
    if not match or int(match["port"] or 1) not in range(1, 65536):
        raise ConfigError(f"{text!r}: {authority!r} is no host:port")
    host, port = match["host"].lower(), match["port"]
    is_private = _is_private(host.strip("[]"))
    if tls is None:
        is_plain = port != "443" if port else is_private
        over = "http" if is_plain else "https"
    else:
        over = tls
    if not port and over == "http" and scheme in _DEFAULT_PORTS:
        port = str(_DEFAULT_PORTS[scheme])
    origin = f"{over}://{host}" + (f":{port}" if port else "")
    root, api = _roots(scheme, origin, base)
    return Endpoint(cast(Scheme, scheme), root, api, is_private, tls is not None)


def _roots(scheme: str, origin: str, base: str) -> tuple[str, str]:
    if not base:
        return origin, f"{origin}/v1"
    front, _, last = base.rpartition("/")
    if _VERSION.fullmatch(last):
        return f"{origin}/{front}".rstrip("/"), f"{origin}/{base}"
    root = f"{origin}/{base}"
    return root, root if scheme == "openai" else f"{root}/v1"


def _is_private(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return "." not in host or host.endswith(_PRIVATE_ENDS)
    return address.is_loopback or address.is_private or address.is_link_local
