"""An app with effects of every kind, for tests that kill its process: `python killed_app.py`.

The first life begins a run, each later one goes on with it. EFFECTS is the file of what happened.
"""

import asyncio
import os
import random
import sys
import time

import teola as tl

llm = tl.LLM("fake:", name="llm")
RUNS, EFFECTS = os.environ.get("RUNS", ""), os.environ.get("EFFECTS", os.devnull)
MOST_LINES = int(os.environ.get("MOST_LINES", "0"))  # of this life; 0: as many as it likes
NAMES = ["ann", "ben", "cay"]


num_noted = 0


def note(line: str) -> None:
    """Writes a line; a life that has written its MOST_LINES waits here to be killed."""
    global num_noted
    num_noted += 1
    if 0 < MOST_LINES < num_noted:
        time.sleep(600)
    with open(EFFECTS, "a", encoding="utf-8") as file:
        file.write(f"{line}\n")


@tl.tool
def charge(order: str) -> str:
    """Charge an order."""
    note(f"begin {order}")
    time.sleep(0.002)
    note(f"end {order}")
    return f"charged {order}"


@tl.tool
async def ship(order: str) -> str:
    """Ship an order."""
    note(f"begin {order}")
    await asyncio.sleep(0.002)
    note(f"end {order}")
    return f"shipped {order}"


@tl.prompt(llm, temperature=0.9)
def letter(name: str) -> str:
    return f"Write to {name}."


@tl.app
def letters(names: list[str]) -> list[str]:
    """Each text is drawn by chance, and stands in the effect's arguments."""
    return tl.map(lambda name: charge(letter(name)), names)


@tl.app
async def parcels(name: str) -> str:
    first = await tl.value(ship(f"{name} box"))
    return await tl.value(ship(f"{first} lid"))


@tl.app
def through(names: list[str]) -> list[str]:
    """An `async def` app, where nothing can be awaited."""
    return tl.map(parcels, names)


clerk = tl.Agent("clerk", llm, instructions="Charge what is asked.", tools=[charge, ship])


@tl.app
async def everything(names: list[str]) -> list[str]:
    written = await tl.value(letters(names))

    async def side(name: str) -> str:
        await tl.value(charge(f"{name} left"))
        return await tl.value(ship(f"{name} right"))

    both = await asyncio.gather(side("dan"), side("eve"))
    looped = [await tl.value(charge(f"turn {turn}")) for turn in range(4)]
    inside = await tl.value(through(names))
    said = await tl.value(clerk("Charge x and y, then ship z."))
    assert all(text.startswith("charged ") for text in written)
    return [*both, *looped, *inside, said]


EXPECTED = [
    *("shipped dan right", "shipped eve right"),
    *(f"charged turn {turn}" for turn in range(4)),
    *(f"shipped shipped {name} box lid" for name in NAMES),
    "all done",
]


def reply(prompt: str) -> str:
    call = tl.fake.tool_call
    if "Write to" in prompt:
        return f"dear {random.random()}"  # another text in each life
    if "shipped z" in prompt:
        return "all done"
    if "charged y" in prompt:
        return call("ship", order="z")
    return call("charge", order="x") + call("charge", order="y")


def live() -> list[str]:
    found = tl.runs(RUNS)
    if not found:
        return everything.using(runs=RUNS)(NAMES)
    run_id = found[0].id
    try:
        return tl.resume(run_id, runs=RUNS)
    except tl.errors.EffectInDoubt:
        note("doubt")
        return tl.resume(run_id, runs=RUNS, in_doubt="retry")


if __name__ == "__main__":
    with tl.fake(llm, reply):
        assert live() == EXPECTED
    sys.exit(0)
