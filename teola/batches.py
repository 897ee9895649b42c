"""Many runs: no more than a bound at once, results in order, and a bar that counts them."""

import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from frontend_dsl.program import Batch

Done = Callable[[Any], None]  # called with each outcome

_is_in_batch: ContextVar[bool] = ContextVar("teola_is_in_batch", default=False)


def is_in_batch() -> bool:
    """Whether what runs is one of many runs of a batch or an evaluation, which wait for their turn:
    what waits at engines is theirs, and no reason to refuse the next."""
    return _is_in_batch.get()


async def run_bounded(
    runs: Iterable[Coroutine[Any, Any, Any]], concurrency: int, done: Done
) -> list[Any]:
    """All results in order, an exception in the place of what failed.

    A coroutine is made when its turn comes. Cancelling cancels those that run.
    """
    results: list[Any] = []
    numbered = iter(runs)

    async def work() -> None:
        _is_in_batch.set(True)  # in the context of this task
        for run in numbered:
            place = len(results)
            results.append(None)
            results[place] = await _outcome(run, done)

    await asyncio.gather(*(work() for _ in range(concurrency)))
    return results


async def _outcome(run: Coroutine[Any, Any, Any], done: Done) -> Any:
    try:
        result = await run
    except Exception as error:
        result = error
    done(result)
    return result


def is_exception(outcome: Any) -> bool:
    """Whether a run failed, of which this is the outcome."""
    return isinstance(outcome, Exception)


@contextmanager
def progress_bar(batch: Batch, has_failed: Callable[[Any], bool] = is_exception) -> Iterator[Done]:
    """Tell it of each run that ends."""
    if not (sys.stderr.isatty() if batch.progress is None else batch.progress):
        yield lambda outcome: None  # noqa: ARG005
        return
    from rich import progress as parts  # late: most batches show none
    from rich.console import Console

    columns = (
        parts.TextColumn("{task.description}"),
        parts.BarColumn(),
        parts.MofNCompleteColumn(),
        parts.TextColumn("[red]{task.fields[failed]}"),
        parts.TimeElapsedColumn(),
        parts.TimeRemainingColumn(),
    )
    num_failed = 0
    with parts.Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(batch.name, total=batch.size, failed="")

        def done(outcome: Any) -> None:
            nonlocal num_failed
            num_failed += has_failed(outcome)
            bar.update(task, advance=1, failed=f"{num_failed} failed" if num_failed else "")

        yield done
