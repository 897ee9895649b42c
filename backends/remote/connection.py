"""The httpx client of an endpoint: pool, timeouts, TLS, HTTP/2, the key."""

import logging
import ssl
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import httpx

from backends.errors import ConfigError
from backends.remote.options import RemoteOptions, Secret
from backends.remote.url import Endpoint

IDLE_S = 4.0  # uvicorn, which most servers run on, closes idle connections after 5


def make_http(
    endpoint: Endpoint,
    options: RemoteOptions,
    key: Secret,
    num: int,
    is_http2: bool,
    transport: httpx.AsyncBaseTransport | None = None,
) -> httpx.AsyncClient:
    """A pool of `num` connections, none of which is there yet. `transport` stands in for the
    network."""
    return httpx.AsyncClient(
        headers=_headers(key),
        verify=_trust(endpoint.is_tls, options.ca_file),
        http1=not (options.http2 and is_http2),
        http2=is_http2,
        timeout=httpx.Timeout(
            options.read_timeout_s, connect=options.connect_timeout_s, pool=options.timeout_s
        ),
        limits=httpx.Limits(
            max_connections=num, max_keepalive_connections=num, keepalive_expiry=IDLE_S
        ),
        transport=transport,
        trust_env=False,
        follow_redirects=False,
    )


def _headers(key: Secret) -> dict[str, str]:
    value = key.reveal()
    return {"user-agent": "teola", **({"authorization": f"Bearer {value}"} if value else {})}


def speaks_http2(endpoint: Endpoint, options: RemoteOptions) -> bool:
    """HTTP/2 is offered to the server. Raises ConfigError where its package is missing."""
    if options.http2 is False or (options.http2 is None and not endpoint.is_tls):
        return False
    is_there = find_spec("h2") is not None
    if options.http2 and not is_there:
        raise ConfigError('http2=True needs a package; run `pip install "teola[http2]"`')
    if is_there:  # at DEBUG it logs every header, and so the key
        logging.getLogger("hpack").setLevel(logging.INFO)
    return is_there


@cache
def _trust(is_tls: bool, ca_file: Path | None) -> ssl.SSLContext:
    """Always verifies. Without TLS nothing is loaded: it is not used."""
    if not is_tls:
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca_file is None:
        return httpx.create_ssl_context(trust_env=False)
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"ca_file {str(ca_file)!r} holds no certificates: {error}") from None
