"""What the answers of several endpoints say of their limits, as those of one API."""

from collections.abc import Callable, Iterable

from backends.rate_limits import Allowance, RateReport


class RateSum:
    """Tells the sum of the newest reports, once every endpoint has made one."""

    def __init__(self, num_endpoints: int, tell: Callable[[RateReport], None]) -> None:
        self._num_endpoints = num_endpoints
        self._tell = tell
        self._reports: dict[int, RateReport] = {}  # by number of the teller
        self._num_tellers = 0

    def teller(self) -> Callable[[RateReport], None]:
        """What one endpoint calls."""
        number = self._num_tellers
        self._num_tellers += 1

        def told(report: RateReport) -> None:
            self._reports[number] = report
            if len(self._reports) == self._num_endpoints:
                reports = self._reports.values()
                requests = _sum(report.requests for report in reports)
                self._tell(RateReport(requests, _sum(report.tokens for report in reports)))

        return told


def _sum(allowances: Iterable[Allowance]) -> Allowance:
    given = list(allowances)
    return Allowance(
        _total(each.limit for each in given),
        _total(each.remaining for each in given),
        max((each.reset_s for each in given if each.reset_s is not None), default=None),
    )


def _total(amounts: Iterable[float | None]) -> float | None:
    """None where one says nothing: then there is no limit to all."""
    given = list(amounts)
    known = [amount for amount in given if amount is not None]
    return sum(known) if len(known) == len(given) else None
