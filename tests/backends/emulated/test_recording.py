"""Recordings: what was answered is found again however it is asked for."""

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest

from backends.base import Request, Result, Sample, Turn
from backends.documents import Doc
from backends.emulated.recorder import Recorder
from backends.emulated.recording import Recording, Said, output_attrs, read_recording
from backends.errors import ConfigError

CHAT = "<|user|>Hi<|assistant|>"


class AContext:
    """As engines give them."""


def request(op: str, *inputs: Any, **attrs: Any) -> Request:
    return Request(uuid4().hex, op, inputs, attrs)


def recorded(path: Path, *done: tuple[Request, Result]) -> Recording:
    recorder = Recorder(path)
    for one, result in done:
        recorder(one, result)
    recorder.close()
    return read_recording(path)


def test_a_prompt_that_was_cut_into_calls_is_one_prompt(tmp_path: Path) -> None:
    first, second = AContext(), AContext()
    recording = recorded(
        tmp_path / "run.jsonl",
        (request("prefill", None, Turn("user"), "H"), Result((first,))),
        (request("prefill", first, "i"), Result((second,))),
        (request("decode", second, Turn("assistant")), Result(("Hello", AContext()))),
    )
    assert recording.said(CHAT, {}) == Said("Hello")
    assert recording.said("<|user|>Ho<|assistant|>", {}) is None


def test_a_context_goes_on_with_what_was_decoded(tmp_path: Path) -> None:
    context = AContext()
    recording = recorded(
        tmp_path / "run.jsonl",
        (request("decode", None, Turn("user"), "Hi"), Result(("Hello", context))),
        (request("decode", context, "!"), Result(("Bye", AContext()))),
    )
    assert recording.said("<|user|>HiHello!", {}) == Said("Bye")


def test_a_whole_prompt_is_found_as_a_decode(tmp_path: Path) -> None:
    recording = recorded(
        tmp_path / "run.jsonl",
        (request("generate", Turn("user"), "Hi", Turn("assistant")), Result(("Hello",))),
    )
    assert recording.said(CHAT, {}) == Said("Hello")


def test_samples_are_found_one_by_one_by_their_seeds(tmp_path: Path) -> None:
    samples = (Sample("stop"), Sample("length"))
    result = Result((["one", "two"], [AContext(), AContext()]), samples=samples)
    drawn = request("decode", None, "Hi", n=2, seed=7, temperature=1.0)
    recording = recorded(tmp_path / "run.jsonl", (drawn, result))
    assert recording.said("Hi", {"seed": 7, "temperature": 1.0}) == Said("one")
    assert recording.said("Hi", {"seed": 8, "temperature": 1.0, "n": 5}) == Said("two", "length")


def test_equal_requests_get_their_outputs_in_turn(tmp_path: Path) -> None:
    asked = [request("generate", "Hi", temperature=1.0) for _ in range(2)]
    done = [(one, Result((text,))) for one, text in zip(asked, ("one", "two"), strict=True)]
    recording = recorded(tmp_path / "run.jsonl", *done)
    texts = [recording.said("Hi", {"temperature": 1.0}) for _ in range(4)]
    assert [said.text for said in texts if said] == ["one", "two", "one", "two"]


def test_attributes_without_an_effect_are_no_difference() -> None:
    plain = output_attrs({})
    assert output_attrs({"temperature": 0, "seed": 4, "top_p": 0.5, "max_tokens": 256}) == plain
    assert output_attrs({"n": 3, "logprobs": 2, "cache_salt": "x", "stop": None}) == plain
    assert output_attrs({"stop": "a"}) == output_attrs({"stop": ["a"]})
    assert output_attrs({"schema": '{"type": "object"}'}) == output_attrs(
        {"schema": {"type": "object"}}
    )
    assert output_attrs({"temperature": 0.5, "seed": 4}) != output_attrs({"temperature": 0.5})


def test_the_same_prompt_with_other_attributes_is_found_and_counted(tmp_path: Path) -> None:
    recording = recorded(
        tmp_path / "run.jsonl", (request("generate", "Hi", max_tokens=9), Result(("Hello",)))
    )
    assert recording.said("Hi", {"max_tokens": 9}) == Said("Hello")
    assert recording.said("Hi", {"max_tokens": 10}) == Said("Hello")
    assert recording.said("Ho", {}) is None
    stats = recording.stats
    assert (stats.found, stats.with_other_attrs, stats.missing) == (2, 1, 1)


def test_choices_are_scored_as_they_were(tmp_path: Path) -> None:
    context = AContext()
    recording = recorded(
        tmp_path / "run.jsonl",
        (request("prefill", None, "Hi"), Result((context,))),
        (request("select", context, ["a", "b"]), Result(("b", [-2.0, -1.0], AContext()))),
    )
    assert recording.choice_scores("Hi", ["a", "b"], "mean") == [-2.0, -1.0]
    assert recording.choice_scores("Hi", ["b", "a"], "mean") is None


def test_vectors_come_back_bit_by_bit(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((2, 5)).astype(np.float32)
    recording = recorded(
        tmp_path / "run.jsonl",
        (request("embed", ["one", Doc("two")]), Result((rows,))),
        (request("embed", "three"), Result((rows[0],))),
    )
    for text, row in (("one", rows[0]), ("two", rows[1]), ("three", rows[0])):
        found = recording.vector(text)
        assert found is not None
        assert (found == row).all()
    assert recording.vector("four") is None
    assert recording.dimensions == 5


def test_passages_beyond_the_best_stay_below_them(tmp_path: Path) -> None:
    best = [Doc("a", score=0.9), Doc("b", score=0.4)]
    recording = recorded(
        tmp_path / "run.jsonl",
        (request("rerank", "q", [Doc("c"), Doc("b"), Doc("a")], k=2), Result((best,))),
    )
    assert recording.passage_score("q", "a") == 0.9
    below = recording.passage_score("q", "c")
    assert below is not None
    assert below < 0.4
    assert recording.passage_score("another", "a") is None


def test_a_recording_is_gone_on_with_and_holds_nothing_twice(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    hello = request("generate", "Hi"), Result(("Hello",))
    recorded(path, hello)
    once = path.read_text()
    recorded(path, hello, hello)
    assert path.read_text() == once
    recording = recorded(path, (request("generate", "Ho"), Result(("Bye",))))
    assert recording.said("Hi", {}) == Said("Hello")
    assert recording.said("Ho", {}) == Said("Bye")


def test_a_line_that_was_cut_by_a_crash_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    recorded(path, (request("generate", "Hi"), Result(("Hello",))))
    with path.open("a") as file:
        file.write('{"op": "decode", "prom')
    assert read_recording(path).said("Hi", {}) == Said("Hello")
    recording = recorded(path, (request("generate", "Ho"), Result(("Bye",))))
    assert recording.said("Ho", {}) == Said("Bye")


def test_a_line_may_be_cut_within_a_character(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    recorded(path, (request("generate", "Hi"), Result(("Hello",))))
    with path.open("ab") as file:
        file.write(b'{"op": "decode", "prompt": "\xe2\x82')
    assert read_recording(path).said("Hi", {}) == Said("Hello")


@pytest.mark.parametrize("text", ["a\u2028b", "a\x85b", "a\x0bb\x1cc", "half \ud800 a pair"])
def test_any_text_is_recorded_and_the_file_is_gone_on_with(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.jsonl"
    recorded(path, (request("generate", text), Result((f"{text}!",))))
    recording = recorded(path, (request("generate", "Ho"), Result(("Bye",))))
    assert recording.said(text, {}) == Said(f"{text}!")
    assert recording.said("Ho", {}) == Said("Bye")


def test_each_record_is_in_the_file_before_the_next(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "run.jsonl")
    recorder(request("generate", "Hi"), Result(("Hello",)))
    assert read_recording(tmp_path / "run.jsonl").said("Hi", {}) == Said("Hello")
    recorder.close()


ROW = '{"op": "embed", "text": "%s", "vector": "%s"}\n'


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "is no recording"),
        ("hello\n", "is no recording"),
        ('{"teola_recording": 99}\n', "^recording .* has version 99; this teola reads 1$"),
        ('{"teola_recording": 1}\n{"op": "decode"}\n', "is damaged"),
        ('{"teola_recording": 1}\nnonsense\n', "is damaged"),
        (
            f'{{"teola_recording": 1}}\n{ROW % ("a", "AAAAAAA=")}',
            "is damaged .*element size",
        ),
        (
            f'{{"teola_recording": 1}}\n{ROW % ("a", "AAAAAA==")}{ROW % ("b", "AAAAAAAAAAA=")}',
            "is damaged .*vectors of 1 and of 2 numbers",
        ),
    ],
)
def test_a_file_that_is_no_recording_is_told(tmp_path: Path, content: str, told: str) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text(content)
    with pytest.raises(ConfigError, match=told):
        read_recording(path)


def test_a_file_of_another_kind_is_not_written_to(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("my notes\n")
    with pytest.raises(ConfigError, match="is no recording"):
        Recorder(path)
    assert path.read_text() == "my notes\n"


def test_prompts_of_contexts_from_before_are_counted_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "run.jsonl"
    recorded(path, (request("decode", AContext(), "Hi"), Result(("Hello", AContext()))))
    assert [json.loads(line) for line in path.read_text().splitlines()] == [{"teola_recording": 1}]
    assert "lacks 1 requests" in caplog.text
