"""The ops `ingest` and `search` over one collection, in memory or with segments on disk."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from backends.base import Outcome, Request, Result, Usage
from backends.documents import Index
from backends.errors import EngineUnavailable, RequestRejected
from backends.file_lock import file_lock
from backends.store.collection import Collection, Entry
from backends.store.jobs import Ingest, Search, read_request
from backends.store.searcher import Searcher
from backends.store.segments import Segments


class StoreRunner:
    """Runs a batch: its ingests first, then its searches, which therefore see them.

    The index of an ingest keeps its documents as they were; a search of the whole store sees the
    newest of each id. On disk, what one `run` ingests becomes one segment, unless it is all there
    already; other processes may write the same folder, and each run sees what they wrote before it.
    """

    def __init__(self, collection: str, segments: Segments | None) -> None:
        self._name = collection
        self._segments = segments
        self._collection = Collection()
        self._searcher = Searcher(self._collection)
        self._read_new()

    def run(self, requests: Sequence[Request]) -> list[Outcome]:
        self._read_new()
        outcomes: dict[int, Outcome] = {}
        ingests: dict[int, Ingest] = {}
        searches: dict[int, Search] = {}
        for i, request in enumerate(requests):
            try:
                job = read_request(request, self._name)
            except RequestRejected as error:
                outcomes[i] = error
            else:
                if isinstance(job, Ingest):
                    ingests[i] = job
                else:
                    searches[i] = job
        outcomes.update(self._ingest(ingests))
        outcomes.update(self._search(searches))
        return [outcomes[i] for i in range(len(requests))]

    def close(self) -> None:
        """Everything written is on the disk already."""
        self._collection.check_integrity()

    def _search(self, searches: Mapping[int, Search]) -> dict[int, Outcome]:
        found = self._searcher.run(list(searches.values()))
        return {
            i: Result((docs,), Usage(num_items=1)) if isinstance(docs, list) else docs
            for i, docs in zip(searches, found, strict=True)
        }

    def _ingest(self, ingests: Mapping[int, Ingest]) -> dict[int, Outcome]:
        if self._segments is None:
            return self._apply(ingests)
        if not ingests:
            return {}
        try:
            with file_lock(self._segments.folder / "write.lock"):
                self._read_new()
                return self._apply(ingests)
        except OSError as error:
            failure = EngineUnavailable(f"cannot write {self._segments.folder}: {error}")
            return dict.fromkeys(ingests, failure)

    def _apply(self, ingests: Mapping[int, Ingest]) -> dict[int, Outcome]:
        outcomes: dict[int, Outcome] = {}
        accepted: dict[int, list[Entry]] = {}
        dimensions = self._collection.dimensions
        for i, ingest in ingests.items():
            try:
                accepted[i], dimensions = self._accept(ingest, dimensions)
            except RequestRejected as error:
                outcomes[i] = error
        batch = [entry for entries in accepted.values() for entry in entries]
        if self._segments is not None and not all(map(self._collection.is_newest, batch)):
            self._segments.append(batch)
        for i, entries in accepted.items():
            index = Index(self._name, self._collection.upsert(entries))
            outcomes[i] = Result((index,), Usage(num_items=ingests[i].num_items))
        return outcomes

    def _accept(self, ingest: Ingest, dimensions: int | None) -> tuple[list[Entry], int | None]:
        for entry in ingest.entries:
            if entry.vector is not None:
                dimensions = dimensions or len(entry.vector)
                if len(entry.vector) != dimensions:
                    raise RequestRejected(
                        f"the vectors have {len(entry.vector)} dimensions, the store's have "
                        f"{dimensions}: use one embedder a store"
                    )
        if self._segments is None:
            return list(ingest.entries), dimensions
        return [_as_stored(entry) for entry in ingest.entries], dimensions

    def _read_new(self) -> None:
        for entries in self._segments.read_new() if self._segments else ():
            self._collection.upsert(entries)


def _as_stored(entry: Entry) -> Entry:
    """With metadata as it will be read back, so that reopening changes nothing."""
    try:
        metadata: dict[str, Any] = json.loads(json.dumps(dict(entry.doc.metadata)))
    except (TypeError, ValueError) as error:
        raise RequestRejected(
            f"the metadata of document {entry.doc.id!r} cannot be stored as JSON: {error}"
        ) from error
    return replace(entry, doc=replace(entry.doc, metadata=metadata))
