"""Where a database is: a libpq URL without its password, which comes from elsewhere."""

import os
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import certifi
import psycopg
from psycopg.conninfo import conninfo_to_dict

from backends.errors import ConfigError
from backends.store.hosts import is_near


@dataclass(frozen=True, slots=True)
class Address:
    """What libpq needs to connect. Shown without secrets."""

    params: dict[str, Any]
    collection: str | None = None  # that the URL names

    def __repr__(self) -> str:
        return self.name

    @property
    def name(self) -> str:
        """The database for people."""
        if "service" in self.params:
            return f"postgresql:service={self.params['service']}"
        user = f"{self.params['user']}@" if "user" in self.params else ""
        port = f":{self.params['port']}" if "port" in self.params else ""
        host = self.params.get("host", "")
        return f"postgresql://{user}{host}{port}/{self.params.get('dbname', '')}"


def read_address(url: str, url_env: str | None) -> Address:
    """Raises ConfigError; it never quotes a URL that may hold a password."""
    if url_env is None:
        return _read(url, "the URL of the store", may_hold_password=False)
    if url.partition(":")[2] not in ("", "//"):
        raise ConfigError("give a store url_env= or a database in its URL, not both")
    if not os.environ.get(url_env):
        raise ConfigError(f"the environment variable {url_env} holds no postgresql:// URL")
    return _read(os.environ[url_env], url_env, may_hold_password=True)


def _read(url: str, where: str, *, may_hold_password: bool) -> Address:
    parts = urlsplit(url)
    options = parse_qsl(parts.query)
    collection = dict(options).get("collection")
    if collection is not None:  # ours, the others are libpq's
        others = urlencode([(name, value) for name, value in options if name != "collection"])
        url = urlunsplit(parts._replace(query=others))
    try:
        params = {key: value for key, value in conninfo_to_dict(url).items() if value is not None}
    except psycopg.ProgrammingError:
        params = {"port": "none"}
    ports = str(params.get("port", "")).split(",")
    if not all(port.isdecimal() or not port for port in ports):
        raise ConfigError(
            f"{where} is not a PostgreSQL URL; write postgresql://user@host:5432/database"
        )
    if not may_hold_password and {"password", "sslpassword"} & params.keys():
        raise ConfigError(
            f"{where} holds a password, and URLs are shown in traces: put it in PGPASSWORD, "
            "~/.pgpass or a service file, or put the whole URL in an environment variable and "
            'write Store("postgresql:", url_env="DATABASE_URL")'
        )
    return Address(_verified(params), collection)


def _verified(params: dict[str, Any]) -> dict[str, Any]:
    """A server of another network must prove who it is, unless the URL says otherwise."""
    hosts = [str(params.get(name)) for name in ("host", "hostaddr") if params.get(name)]
    names = [name for host in hosts for name in host.split(",")]
    says = params.keys() & {"sslmode", "service"} or "PGSSLMODE" in os.environ
    if says or all(name.startswith(("/", "@")) or is_near(name) for name in names):
        return params
    return {"sslmode": "verify-full", "sslrootcert": _root_certificates(), **params}


def _root_certificates() -> str:
    found: str | None = ssl.get_default_verify_paths().cafile
    return found or certifi.where()
