"""What the end of a request says."""

import asyncio
from dataclasses import asdict

from backends.base import FusionReport, Result, Usage
from runtime.events import Event
from runtime.telling import Teller

REPORT = FusionReport("reuse", 2, 1, 90, (12, 12), 0.01)


def ended(result: Result) -> dict[str, object]:
    events: list[Event] = []

    async def main() -> None:
        Teller("q1", events.append, lambda _: None).tell_end("answer", "prefill", result)

    asyncio.run(main())
    (event,) = events
    return dict(event.fields)


def test_a_fused_prefill_tells_its_report() -> None:
    fields = ended(Result(("c",), Usage(prefill_tokens=12, fused_tokens=78), fusion=REPORT))
    assert fields["fused_tokens"] == 78
    assert fields["fusion"] == asdict(REPORT)


def test_another_prefill_tells_nothing_of_fusion() -> None:
    assert not {"fused_tokens", "fusion"} & ended(Result(("c",), Usage(prefill_tokens=12))).keys()
