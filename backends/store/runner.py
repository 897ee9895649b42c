"""The requests of a store over one collection, in memory or with segments on disk."""

from collections.abc import Mapping, Sequence

from backends.base import Outcome, Request, Result, Usage
from backends.documents import Index
from backends.errors import EngineUnavailable, RequestRejected
from backends.file_lock import file_lock
from backends.store.collection import Collection, Entry
from backends.store.deletion import chosen_ids
from backends.store.jobs import Count, Delete, Ingest, Job, Search, as_stored, read_request
from backends.store.searcher import Searcher
from backends.store.segments import Segment, Segments

OLD_ROWS = 10_000  # kept in memory for those who hold an index of them
_SPARE_CHANGES = 1000  # on the disk, beyond twice the documents there are


class StoreRunner:
    """Runs a batch: ingests first, then deletions, then what reads, which therefore sees them.

    The index of an ingest keeps its documents as they were; a search of the whole store sees the
    newest of each id. On disk, what one `run` ingests becomes one segment of what was not there
    already; other processes may write the same folder, and each run sees what they wrote before it.
    When most of what is written no longer counts, one segment of what does replaces all others.
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
        jobs: dict[int, Job] = {}
        for i, request in enumerate(requests):
            try:
                jobs[i] = read_request(request, self._name)
            except RequestRejected as error:
                outcomes[i] = error
        ingests = {i: job for i, job in jobs.items() if isinstance(job, Ingest)}
        deletes = {i: job for i, job in jobs.items() if isinstance(job, Delete)}
        if ingests or deletes:
            outcomes.update(self._change(ingests, deletes))
            self._collection.forget(OLD_ROWS)
        for i, job in jobs.items():
            if isinstance(job, Count):
                outcomes[i] = _done(len(self._collection))
        outcomes.update(self._search({i: j for i, j in jobs.items() if isinstance(j, Search)}))
        return [outcomes[i] for i in range(len(requests))]

    def close(self) -> None:
        """Everything written is on the disk already."""
        self._collection.check_integrity()

    def _search(self, searches: Mapping[int, Search]) -> dict[int, Outcome]:
        found = self._searcher.run(list(searches.values()))
        return {
            i: _done(docs) if isinstance(docs, list) else docs
            for i, docs in zip(searches, found, strict=True)
        }

    def _change(
        self, ingests: Mapping[int, Ingest], deletes: Mapping[int, Delete]
    ) -> dict[int, Outcome]:
        if self._segments is None:
            return self._ingest(ingests) | self._delete(deletes)
        try:
            with file_lock(self._segments.folder / "write.lock"):
                self._read_new()
                outcomes = self._ingest(ingests) | self._delete(deletes)
                self._rewrite_if_it_pays(self._segments)
                return outcomes
        except OSError as error:
            failure = EngineUnavailable(f"cannot write {self._segments.folder}: {error}")
            return dict.fromkeys([*ingests, *deletes], failure)

    def _ingest(self, ingests: Mapping[int, Ingest]) -> dict[int, Outcome]:
        outcomes: dict[int, Outcome] = {}
        accepted: dict[int, Sequence[Entry]] = {}
        dimensions = self._collection.dimensions
        for i, ingest in ingests.items():
            try:
                accepted[i], dimensions = self._accept(ingest, dimensions)
            except RequestRejected as error:
                outcomes[i] = error
        if self._segments is not None:
            changed = self._changed([e for entries in accepted.values() for e in entries])
            if changed:
                self._segments.append(Segment(changed))
        for i, entries in accepted.items():
            index = Index(self._name, self._collection.upsert(entries))
            outcomes[i] = Result((index,), Usage(num_items=ingests[i].num_items))
        return outcomes

    def _changed(self, entries: Sequence[Entry]) -> list[Entry]:
        """Those that are not there as they are, or as one before them will have left them."""
        last: dict[str, Entry] = {}
        changed: list[Entry] = []
        for entry in entries:
            before = last.get(entry.doc.id)
            is_there = self._collection.is_newest(entry) if before is None else None
            if is_there or (before is not None and before.is_same(entry)):
                continue
            last[entry.doc.id] = entry
            changed.append(entry)
        return changed

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
        return [as_stored(entry) for entry in ingest.entries], dimensions

    def _delete(self, deletes: Mapping[int, Delete]) -> dict[int, Outcome]:
        outcomes: dict[int, Outcome] = {}
        for i, delete in deletes.items():
            try:
                ids = chosen_ids(delete, self._collection)
            except RequestRejected as error:
                outcomes[i] = error
                continue
            if ids and self._segments is not None:
                self._segments.append(Segment(deleted=ids))
            outcomes[i] = _done(self._collection.delete(ids))
        return outcomes

    def _rewrite_if_it_pays(self, segments: Segments) -> None:
        if segments.num_changes <= 2 * len(self._collection) + _SPARE_CHANGES:
            return
        segments.append(Segment(self._collection.newest_entries(), is_base=True))
        segments.remove_older()

    def _read_new(self) -> None:
        for segment in self._segments.read_new() if self._segments else ():
            if segment.is_base:
                kept = {entry.doc.id for entry in segment.entries}
                self._collection.delete(self._collection.ids() - kept)
            self._collection.delete(segment.deleted)
            self._collection.upsert(segment.entries)


def _done(value: object) -> Result:
    return Result((value,), Usage(num_items=1))
