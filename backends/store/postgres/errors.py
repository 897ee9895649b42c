"""Errors of PostgreSQL as those of engines."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors as pg

from backends.errors import EngineError, EngineOverloaded, EngineUnavailable, RequestRejected

INSTALL = (
    "install pgvector on its server (Debian: postgresql-NN-pgvector) and run "
    "CREATE EXTENSION vector in the database as a superuser"
)
_HINTS = {  # by what libpq's message holds: errors of connecting have no code
    "password authentication failed": "set PGPASSWORD or ~/.pgpass",
    "no password supplied": "set PGPASSWORD or ~/.pgpass",
    "Connection refused": "is the server running?",
    "root certificate": "sslrootcert= in the URL names the certificates to trust",
    "certificate verify failed": "sslrootcert= in the URL names the certificates to trust",
    "does not support SSL": "sslmode=disable in the URL goes on without TLS",
    "remaining connection slots": "lower connections=",
    'type "vector" does not exist': INSTALL,
}
_GONE = (
    pg.AdminShutdown,
    pg.CrashShutdown,
    pg.CannotConnectNow,
    pg.IdleInTransactionSessionTimeout,
)
_LATER = (pg.DeadlockDetected, pg.SerializationFailure, pg.LockNotAvailable)
_CLASSES: dict[str, type[EngineError]] = {  # by the first two characters of SQLSTATE
    "08": EngineUnavailable,  # connection
    "0A": EngineUnavailable,  # the server lacks a feature
    "22": RequestRejected,  # a value that it cannot take
    "25": EngineUnavailable,  # read-only server
    "28": EngineUnavailable,  # who are you?
    "3D": EngineUnavailable,  # no such database
    "3F": EngineUnavailable,  # no such schema
    "42": EngineUnavailable,  # a table is gone, or not ours to use
    "53": EngineOverloaded,  # out of connections, memory, disk
    "54": RequestRejected,  # too large
    "57": EngineUnavailable,  # cancelled or shut down by an operator
    "58": EngineUnavailable,  # its files
}


@contextmanager
def mapped(name: str) -> Iterator[None]:
    """Turns every psycopg error into an EngineError that names the database."""
    try:
        yield
    except psycopg.Error as error:
        raise map_error(error, name) from None


def map_error(error: psycopg.Error, name: str) -> EngineError:
    """The engine's error for one of PostgreSQL's."""
    reason = " ".join(str(error).split()) or type(error).__name__
    hints = [hint for sign, hint in _HINTS.items() if sign in reason]
    text = f"{name}: {reason}" + "".join(f" ({hint})" for hint in hints[:1])
    return _kind(error)(text)


def _kind(error: psycopg.Error) -> type[EngineError]:
    if isinstance(error, _GONE):
        return EngineUnavailable
    if isinstance(error, _LATER):
        return EngineOverloaded
    by_code = _CLASSES.get((error.sqlstate or "")[:2])
    if by_code is not None:
        return by_code
    lost = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return EngineUnavailable if lost else EngineError
