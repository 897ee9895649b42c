"""pgvector's type `vector` as numpy arrays, in its binary form."""

import struct
from typing import Any

import numpy as np
from psycopg import AsyncConnection
from psycopg.abc import Buffer
from psycopg.adapt import Dumper, Loader
from psycopg.pq import Format
from psycopg.types import TypeInfo

from backends.store.collection import Vectors


class VectorLoader(Loader):
    """Two numbers of 16 bits, the first is D, then D float32; all big-endian."""

    format = Format.BINARY

    def load(self, data: Buffer) -> Vectors:
        return np.frombuffer(bytes(data)[4:], ">f4").astype(np.float32)


def register_vectors(conn: AsyncConnection[Any], oid: int) -> None:
    """Arrays that this connection sends and receives are of pgvector's type."""

    class VectorDumper(Dumper):
        format = Format.BINARY

        def dump(self, obj: Vectors) -> bytes:
            return struct.pack(">HH", len(obj), 0) + obj.astype(">f4").tobytes()

    VectorDumper.oid = oid
    TypeInfo("vector", oid, 0).register(conn)
    conn.adapters.register_dumper(np.ndarray, VectorDumper)
    conn.adapters.register_loader(oid, VectorLoader)
