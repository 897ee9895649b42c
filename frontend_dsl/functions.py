"""Functions on values of a traced app: join, flatten, load, split."""

from collections.abc import Sequence
from typing import Any, Literal, TypeVar, cast

from backends.documents import Doc
from frontend_dsl.components import Component
from frontend_dsl.tools import tool
from frontend_dsl.tracer import iterable, tracing
from frontend_dsl.value import is_symbolic, item_of, type_of
from graph_opt.graph import Json

T = TypeVar("T")


def join(items: Sequence[Any], template: str = "{text}", sep: str = "\n") -> str:
    """One text from many items: the template once for each, with `sep` between.

    Fields: `{i}` counts from 1, `{text}` the item; of a Doc also `{id}`, `{score}` and its
    metadata; of a model its fields.
    """
    tracer = tracing("tl.join")
    with tracer.call("join"):
        attrs = {"template": template, "sep": sep}
        given = iterable(items, "tl.join")
        return cast(str, tracer.emit("join", (given,), attrs, "join", str))


def flatten(lists: Sequence[Sequence[T]], *, unique: bool = False) -> list[T]:
    """The items of all lists, in order.

    `unique` keeps the first of items that are equal; of documents, of those with the same id.
    """
    tracer = tracing("tl.flatten")
    with tracer.call("flatten"):
        given = iterable(lists, "tl.flatten")
        if isinstance(given, list) and is_symbolic(given) and not unique:
            type_ = type_of(given)
            return cast(list[T], tracer.emit("concat", given, {}, "flatten", item_of(type_)))
        value = tracer.lift(given)
        attrs: dict[str, Json] = {"unique": True} if unique else {}
        type_ = item_of(value._type)
        return cast(list[T], tracer.emit("flatten", (value,), attrs, "flatten", type_))


def load(files: Sequence[str], *, on_error: Literal["raise", "skip"] = "raise") -> list[Doc]:
    """Read text, Markdown, HTML, PDF and JSON-lines files, folders and glob patterns.

    A document has an id of its own wherever it lies, and the metadata `source` (the file as it was
    named), `title`, `path` and `root` (absolute: the file, and what of `files` led to it).

    A file that cannot be read raises DocumentError, or with `on_error="skip"` is left out with a
    warning in the log; a path that leads nowhere always raises. An unchanged file is read once.
    """
    return _load(files) if on_error == "raise" else _load(files, on_error=on_error)


def split(
    docs: Sequence[Doc],
    *,
    chunk_tokens: int = 256,
    overlap: int = 32,
    tokenizer: Component | None = None,
) -> list[Doc]:
    """Cut documents into passages of at most `chunk_tokens` tokens at natural boundaries.

    `tokenizer` is the local LLM or Embedder whose tokens count. By default general-purpose ones
    do (cl100k), of which an embedder may see more: what goes over its window (all-minilm-l6-v2:
    256 of its tokens, two of them its own marks) is left out of the passage's vector, with a
    warning. To lose nothing, give the embedder here and a `chunk_tokens` that its window holds.
    """
    url = tokenizer.spec.url if tokenizer is not None else None
    return _split(docs, chunk_tokens=chunk_tokens, overlap=overlap, tokenizer=url)


@tool(reads=True, name="load")
def _load(files: Sequence[str], *, on_error: Literal["raise", "skip"] = "raise") -> list[Doc]:
    from backends.tools.load import load as load_files

    return load_files(files, on_error)


@tool(pure=True, name="split")
def _split(
    docs: Sequence[Doc], *, chunk_tokens: int, overlap: int, tokenizer: str | None
) -> list[Doc]:
    from backends.tools.split import split as split_docs

    return split_docs(docs, chunk_tokens=chunk_tokens, overlap=overlap, tokenizer=tokenizer)
