"""The thread of an embedded engine: take commands, step, deliver.

It sleeps while there is nothing to do, and otherwise empties its inbox before each step, so an
abort takes at most one step. Every request gets an outcome, whatever fails.
"""

import logging
from collections.abc import Sequence
from typing import Any

from backends.base import Outcome
from backends.errors import EngineError, EngineUnavailable, RequestAborted
from backends.llm.inbox import Call, Expect, Flush, Inbox, OrderBy, Submit
from backends.llm.outbox import Outbox
from backends.llm.outcomes import as_failure, settle, settle_with
from backends.llm.stepped_core import SteppedCore
from backends.policy.base import Policy

_log = logging.getLogger("teola.llm")


class Worker:
    """Runs on the engine's thread until the inbox is closed."""

    def __init__(self, core: SteppedCore, inbox: Inbox, outbox: Outbox) -> None:
        self._core = core
        self._inbox = inbox
        self._outbox = outbox
        self._live: dict[str, Submit] = {}

    def run(self) -> None:
        try:
            self._run()
        except BaseException as error:  # our own mistake: requests still get an outcome
            _log.exception("the engine's thread ends")
            self._inbox.close()
            failure = EngineUnavailable(f"the engine broke: {type(error).__name__}: {error}")
            self._fail_all(failure)

    def _run(self) -> None:
        while self._inbox.wait(lambda: self._core.has_work, self._core.next_work_s):
            self._take_commands()
            self._outbox.flush()
            for request_id, outcome in self._step():
                self._deliver(request_id, outcome)
            self._outbox.flush()
        self._end()

    def _end(self) -> None:
        self._take_commands()
        for request_id in list(self._live):
            self._abort(request_id)
            self._deliver(request_id, EngineUnavailable("the engine was closed"))
        self._outbox.flush()
        self._core.close()

    def _step(self) -> list[tuple[str, Outcome]]:
        try:
            return [(request.id, outcome) for request, outcome in self._core.step()]
        except Exception as error:  # our own mistake: requests still get an outcome
            failure = as_failure(error, "the engine failed")
            for request_id in self._live:
                self._abort(request_id)
            return [(request_id, failure) for request_id in self._live]

    def _abort(self, request_id: str) -> bool:
        """Whether it was here; what a broken core does meanwhile harms no other request."""
        try:
            return self._core.abort(request_id) is not None
        except Exception:
            _log.exception("a request could not be dropped")
            return True

    def _fail_all(self, failure: EngineError) -> None:
        for request_id in list(self._live):
            self._deliver(request_id, failure)
        while command := self._inbox.take():
            if isinstance(command, Submit):
                self._outbox.call(command.loop, settle, command.future, failure)
            elif isinstance(command, Call):
                self._outbox.call(command.loop, settle_with, command.future, failure)
        self._outbox.flush()

    def _take_commands(self) -> None:
        while command := self._inbox.take():
            if isinstance(command, Submit):
                self._add(command)
            elif isinstance(command, Call):
                self._do(command)
            elif isinstance(command, Expect):
                self._expect(command.uses)
            elif isinstance(command, Flush):
                self._flush()
            elif isinstance(command, OrderBy):
                self._order_by(command.policy)
            elif self._abort(command.request_id) and command.request_id in self._live:
                usage = self._live[command.request_id].prepared.usage
                self._deliver(command.request_id, RequestAborted(usage=usage))

    def _expect(self, uses: Sequence[tuple[Any, float]]) -> None:
        try:
            for context, after_s in uses:
                self._core.expect(context, after_s)
        except Exception:  # what is expected changes no answer
            _log.exception("the expected use of contexts could not be noted")

    def _order_by(self, policy: Policy) -> None:
        try:
            self._core.order_by(policy)
        except Exception:  # of a policy of the user's own
            _log.exception("policy %r raised; steps keep the order they had", policy.name)

    def _flush(self) -> None:
        try:
            self._core.flush()
        except Exception:
            _log.exception("the cache could not be emptied")

    def _add(self, submit: Submit) -> None:
        try:
            self._core.submit(submit.prepared)
        except Exception as error:
            failure = as_failure(error, "a request could not be taken in")
            self._outbox.call(submit.loop, settle, submit.future, failure)
        else:
            self._live[submit.prepared.request.id] = submit

    def _do(self, call: Call) -> None:
        try:
            result = call.run(self._core)
        except Exception as error:
            self._outbox.call(call.loop, settle_with, call.future, error)
        else:
            self._outbox.call(call.loop, settle, call.future, result)

    def _deliver(self, request_id: str, outcome: Outcome) -> None:
        submit = self._live.pop(request_id)
        self._outbox.call(submit.loop, settle, submit.future, outcome)
