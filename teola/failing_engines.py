"""What happens when an engine of an app fails, in words: for plans."""

from collections.abc import Iterator, Mapping

from backends.registry import service_of
from teola.known_engines import KnownEngine


def failure_lines(engines: Mapping[str, KnownEngine]) -> Iterator[str]:
    """`llm: tried again up to 2 times, 30 s a request, no new query behind 10000 requests`."""
    for name, engine in engines.items():
        if engine.info is not None and engine.info.kind != "python":
            yield f"{name}: {', '.join(_words(engine))}"


def _words(engine: KnownEngine) -> Iterator[str]:
    service = service_of(engine.spec)
    assert engine.info is not None, "of one that can be made"
    if engine.info.repeats:
        yield "sends again itself"
    else:
        what = "searches tried again" if engine.info.kind == "store" else "tried again"
        times = "once" if service.retries == 1 else f"{service.retries} times"
        yield f"{what} up to {times}" if service.retries else "not tried again"
    if service.timeout_s is not None:
        yield f"{service.timeout_s:g} s a request"
    yield f"no new query behind {service.max_waiting} requests"
