"""Functions on values of a traced app: join, flatten, load, split."""

from collections.abc import Sequence
from typing import Any, Literal, TypeVar, cast

from backends.documents import Doc
from backends.registry import EngineSpec
from frontend_dsl.components import Component
from frontend_dsl.declared_types import item_of
from frontend_dsl.errors import TraceError
from frontend_dsl.fusion_option import check_reuse
from frontend_dsl.join_template import check_template
from frontend_dsl.lowering import iterable
from frontend_dsl.marked_texts import is_symbolic
from frontend_dsl.origins import calls_behind
from frontend_dsl.tools import tool
from frontend_dsl.tracer import tracing
from frontend_dsl.value import Value, type_of
from frontend_dsl.where import user_frame
from graph_opt.graph import Json, Ref

T = TypeVar("T")


def join(
    items: Sequence[Any],
    template: str = "{text}",
    sep: str = "\n",
    *,
    reuse: str | None = None,
    reorder: bool = False,
) -> str:
    """One text from many items: the template once for each, with `sep` between.

    Fields: `{i}` counts from 1, `{text}` the item; of a Doc also `{id}`, `{score}` and its
    metadata; of a model, a dataclass or a dict its fields. A brace that stands for itself is
    doubled. Raises TraceError for a template that the items cannot fill; a field that an item does
    not have, as the metadata of a document, is an error of the run.

    `reuse="fuse"` lets a prompt read an item's KV from other prompts, wherever it stood there: much
    faster, and not exact. By which plan the model or the app says (`fusion=`), else it is "auto";
    `reuse` may name the plan itself, and "exact" forbids it. See docs/fusion.md.

    With `reorder=True` a prompt may take the items in another order: the one in which earlier
    prompts took them, so that a prefix cache finds more. That is exact.
    """
    tracer = tracing("tl.join")
    with tracer.call("join"):
        attrs: dict[str, Json] = {"template": template, "sep": sep}
        if reuse is not None:
            attrs["reuse"] = _checked_reuse(reuse)
        given = iterable(items, "tl.join")
        if not is_symbolic(template):
            check_template(template, item_of(type_of(given)))
        if reorder:
            given = tracer.emit("order", (given,), {}, "order", type_of(given))
        return cast(str, tracer.emit("join", (given,), attrs, "join", str))


def _checked_reuse(reuse: object) -> str:
    try:
        check_reuse(reuse)
    except ValueError as error:
        raise TraceError(str(error), *user_frame()) from None
    return str(reuse)


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

    `tokenizer` is the local LLM or Embedder whose tokens count. Without one they are those of the
    embedder of the first `Store.index` in the app that takes the passages, and no passage is longer
    than it reads, so nothing is left out of a vector (all-minilm-l6-v2 reads 254). Passages that go
    to no index in the same app, or that a user's own tool made over, are counted in general-purpose
    tokens (cl100k), and so are those of an embedder that is not local.
    """
    url = tokenizer.spec.url if tokenizer is not None else None
    return _split(docs, chunk_tokens=chunk_tokens, overlap=overlap, tokenizer=url)


def count_by(embedder: Component, passages: Any) -> None:
    """Let the splits that these passages come from count the embedder's tokens by default."""
    for node in calls_behind(passages, _split._function):
        names = cast(list[Json], node.attrs["kwargs"])
        if "embedder" not in names:
            attrs = {**node.attrs, "kwargs": [*names, "embedder"]}
            passages._tracer.add_spec(node, embedder, attrs)


def files_behind(docs: Any) -> list[Any]:
    """What `load` was given for these documents, one list a call, as far as the trace shows."""
    given = [node.args[0] for node in calls_behind(docs, _load._function)]
    return [Value(docs._tracer, a.name, list) if isinstance(a, Ref) else a for a in given]


@tool(reads=True, name="load")
def _load(files: Sequence[str], *, on_error: Literal["raise", "skip"] = "raise") -> list[Doc]:
    from backends.tools.load import load as load_files

    return load_files(files, on_error)


@tool(pure=True, name="split")
def _split(
    docs: Sequence[Doc],
    *,
    chunk_tokens: int,
    overlap: int,
    tokenizer: str | None,
    embedder: EngineSpec | None = None,
) -> list[Doc]:
    from backends.tools.split import split as split_docs

    return split_docs(docs, chunk_tokens, overlap, tokenizer, embedder)
