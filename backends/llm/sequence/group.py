"""The sequences of one request: a prefill or a decode has one, n samples and a select have more.

Samples and choices continue the same context: they share its pages, and their own tokens run in the
same steps.
"""

from collections.abc import Callable, Iterable
from collections.abc import Sequence as Items

from backends.base import Request, Result, Usage, total
from backends.llm.requests.inputs import Score
from backends.llm.sequence.generation import Scoring
from backends.llm.sequence.sequence import LLMContext, Sequence
from backends.served import longest_served

Join = Callable[[list[Result]], Result]  # the results of all sequences, in order


class Group:
    """Ends when its last sequence does; its result is made of theirs."""

    def __init__(self, request: Request, sequences: Items[Sequence], join: Join) -> None:
        self.request = request
        self.live = list(sequences)
        self._order = list(sequences)
        self._results: dict[Sequence, Result] = {}
        self._join = join

    @property
    def usage(self) -> Usage:
        """What it has cost so far."""
        return total(sequence.usage for sequence in self._order)

    def end(self, sequence: Sequence, result: Result) -> Result | None:
        """Note a sequence's result; the request's own with the last."""
        self._results[sequence] = result
        if len(self._results) < len(self._order):
            return None
        return self._join([self._results[own] for own in self._order])

    def release(self) -> None:
        """Give up what its sequences made so far."""
        _release(self._results.values())


def alone(results: list[Result]) -> Result:
    """The one result as it is."""
    (result,) = results
    return result


def join_samples(results: list[Result]) -> Result:
    """A list of texts and a list of contexts."""
    was_cut = any(result.finish_reason == "length" for result in results)
    return Result(
        outputs=([r.outputs[0] for r in results], [r.outputs[1] for r in results]),
        usage=_total(results),
        finish_reason="length" if was_cut else "stop",
        samples=tuple(sample for result in results for sample in result.samples),
        served=longest_served(result.served for result in results),
    )


def join_choices(choices: Items[str], scorings: Items[Scoring], score: Score) -> Join:
    """The best choice, the scores of all, and the best one's context. The first of equals wins."""

    def join(results: list[Result]) -> Result:
        scores = [scoring.score(score) for scoring in scorings]
        best = scores.index(max(scores))
        _release(result for i, result in enumerate(results) if i != best)
        served = longest_served(result.served for result in results)
        outputs = (choices[best], scores, results[best].outputs[0])
        return Result(outputs, _total(results), served=served)

    return join


def _release(results: Iterable[Result]) -> None:
    for result in results:
        for output in result.outputs:
            if isinstance(output, LLMContext):
                output.release()


def _total(results: Items[Result]) -> Usage:
    return total(result.usage for result in results)
