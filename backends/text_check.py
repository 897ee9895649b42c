"""Which strings are texts: a `str` may hold half of a surrogate pair, which no tokenizer takes."""

from collections.abc import Iterable

from backends.errors import RequestRejected


def check_texts(texts: Iterable[str]) -> None:
    """Raises RequestRejected for one that is not whole Unicode."""
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise RequestRejected(
                f"a text holds half of a surrogate pair ({text[error.start]!a} at character "
                f"{error.start}), which is no character; "
                "`text.encode(errors='replace').decode()` puts a question mark in its place"
            ) from None
