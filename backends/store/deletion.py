"""Which documents a deletion means."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from backends.documents import Doc
from backends.sources import is_from, source_of
from backends.store.collection import Collection
from backends.store.jobs import Delete


def chosen_ids(delete: Delete, collection: Collection) -> list[str]:
    """The ids of the documents that go, in the order of writing. Raises RequestRejected."""
    kept = [] if delete.kept is None else collection.of_index(delete.kept)
    goes = who_goes(delete, kept)
    return [doc.id for doc in collection.newest_docs() if goes(doc.id, doc.metadata)]


def who_goes(delete: Delete, kept: Iterable[Doc]) -> Callable[[str, Mapping[str, Any]], bool]:
    """Whether a document goes, by its id and metadata. `kept` are those of the kept index."""
    kept = list(kept)
    kept_ids = {doc.id for doc in kept}
    is_meant = by_source(delete, kept)

    def goes(doc_id: str, metadata: Mapping[str, Any]) -> bool:
        if doc_id in kept_ids:
            return False
        parent = metadata.get("parent")
        is_named = doc_id in delete.ids or (isinstance(parent, str) and parent in delete.ids)
        return delete.everything or is_named or is_meant(metadata)

    return goes


def by_source(delete: Delete, kept: Iterable[Doc]) -> Callable[[Mapping[str, Any]], bool]:
    """Whether a document is of a source that goes, by its metadata.

    Where an index is kept, its documents' own sources are meant too: what they left in the store
    goes, but for themselves.
    """
    own = [source for doc in kept if (source := source_of(doc.metadata)) is not None]
    return is_from([*delete.sources, *own])
