"""Which documents a deletion means."""

from backends.documents import Doc
from backends.sources import is_from, source_of
from backends.store.collection import Collection
from backends.store.jobs import Delete


def chosen_ids(delete: Delete, collection: Collection) -> list[str]:
    """The ids of the documents that go, in the order of writing. Raises RequestRejected.

    Where an index is kept, its documents' own sources are meant too: what they left in the store
    goes, but for the documents of the index itself.
    """
    kept = [] if delete.kept is None else collection.of_index(delete.kept)
    kept_ids = {doc.id for doc in kept}
    own = [source for doc in kept if (source := source_of(doc.metadata)) is not None]
    is_meant = is_from([*delete.sources, *own])

    def goes(doc: Doc) -> bool:
        parent = doc.metadata.get("parent")
        is_named = delete.everything or doc.id in delete.ids or parent in delete.ids
        return is_named or is_meant(doc.metadata)

    return [doc.id for doc in collection.newest_docs() if doc.id not in kept_ids and goes(doc)]
