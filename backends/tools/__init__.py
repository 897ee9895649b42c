"""Tools that an app calls: Python functions, loading of documents, splitting of texts."""
