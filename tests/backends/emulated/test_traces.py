"""Traces of others: their forms, and what is said of files that are none."""

import gzip
from pathlib import Path

import pytest

from backends.emulated.traces import TraceRow, read_trace
from backends.errors import ConfigError

AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9305900,396,109
"""
MOONCAKE = """{"timestamp": 27000, "input_length": 6758, "output_length": 500, "hash_ids": [0, 1]}
{"timestamp": 30000, "input_length": 7322, "output_length": 490, "hash_ids": [0, 14]}
"""
LENGTHS = "# where from\ncontext_tokens,generated_tokens\n5,6\n7,8\n"


def written(folder: Path, text: str, name: str = "trace.csv") -> str:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return str(path)


@pytest.mark.parametrize("name", ["trace.csv", "trace.csv.gz"])
def test_azures_times_begin_with_its_first_request(tmp_path: Path, name: str) -> None:
    first, second = read_trace(written(tmp_path, AZURE, name))
    assert (first.at_s, first.input_tokens, first.output_tokens) == (0.0, 374, 44)
    assert second.at_s == pytest.approx(4.25)


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path) -> None:
    marked = read_trace(written(tmp_path, "\ufeff" + AZURE.replace("\n", "\r\n")))
    assert marked == read_trace(written(tmp_path, AZURE, "plain.csv"))


def test_mooncakes_requests_name_what_their_prompts_share(tmp_path: Path) -> None:
    first, second = read_trace(written(tmp_path, MOONCAKE))
    assert first == TraceRow(0.0, 6758, 500, (0, 1))
    assert second == TraceRow(3.0, 7322, 490, (0, 14))


def test_lengths_alone_have_no_times(tmp_path: Path) -> None:
    assert read_trace(written(tmp_path, LENGTHS)) == (TraceRow(None, 5, 6), TraceRow(None, 7, 8))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no requests"),
        ("a,b\n1,2\n", "first line is none that is known"),
        (AZURE + "yesterday,1,2\n", "line 4 is no request"),
        (MOONCAKE + '{"timestamp": 1}\n', "line 3 is no request"),
        (LENGTHS + "7\n", "line 5 is no request"),
    ],
)
def test_a_file_that_is_no_trace_is_named_with_its_line(
    tmp_path: Path, text: str, said: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError, match=f"{path}.*{said}"):
        read_trace(path)


def test_a_trace_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match=r"trace nowhere\.csv: No such file"):
        read_trace("nowhere.csv")
