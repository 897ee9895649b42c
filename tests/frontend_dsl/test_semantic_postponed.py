"""Semantic functions in a module whose annotations are texts."""

from __future__ import annotations

from typing import Annotated, Literal

import teola as tl

llm = tl.LLM("fake:", replies={"Is it good": '"good"', "joke": "a joke"})


def test_annotations_may_be_texts_also_of_local_classes() -> None:
    Mark = Literal["good", "bad"]  # noqa: N806

    class Joke(tl.Outputs):
        joke: Annotated[tl.Variable[str], tl.Output(max_tokens=7)]
        mark: tl.Variable[Mark]

    @tl.semantic(llm, out=Joke)
    def tell(topic: tl.Input[str]) -> None:
        """A joke about {{topic}} {{joke}} Is it good? {{mark}}"""

    @tl.semantic(llm)
    def write(topic: str, into: tl.Variable[str] | None = None) -> None:
        """A joke about {{topic}} {{into}}"""

    @tl.app
    def app(topic: str) -> list[str]:
        told, story = tell(topic), tl.variable()
        write(topic, into=story)
        return [told.joke.value, told.mark.value, story.value]

    assert app("llamas") == ["a joke", "good", "a joke"]
    assert "max_tokens=7" in str(app.graph())
