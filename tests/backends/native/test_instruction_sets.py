"""Which kernels a CPU runs follows from the words of /proc/cpuinfo; `TEOLA_ISA` picks another."""

import pytest

from backends.errors import ConfigError
from backends.native import instruction_sets
from backends.native.instruction_sets import isas_here, set_here, wanted_isas

AVX2 = frozenset(("avx2", "fma", "f16c"))
AVX512 = AVX2 | {"avx512f", "avx512bw", "avx512dq", "avx512vl"}
NEON = frozenset(("fp", "asimd"))
CPUS: dict[str, tuple[str, frozenset[str], tuple[str, ...]]] = {
    "ivy bridge": ("x86_64", frozenset(("avx", "f16c")), ()),
    "zen 3": ("x86_64", AVX2, ("avx2",)),
    "alder lake": ("x86_64", AVX2 | {"avx_vnni"}, ("avxvnni", "avx2")),
    "skylake-x": ("x86_64", AVX512, ("avx512", "avx2")),
    "ice lake": (
        *("x86_64", AVX512 | {"avx512_vnni"}),
        ("avx512vnni", "avx512", "avxvnni", "avx2"),
    ),
    "zen 4": (
        *("x86_64", AVX512 | {"avx512_vnni", "avx512_bf16"}),
        ("avx512bf16", "avx512vnni", "avx512", "avxvnni", "avx2"),
    ),
    "raspberry pi 4": ("aarch64", NEON, ("neon",)),
    "raspberry pi 5": ("aarch64", NEON | {"asimddp"}, ("neondot", "neon")),
    "graviton 3": (
        *("aarch64", NEON | {"asimddp", "bf16", "i8mm"}),
        ("neonbf16", "neondot", "neon"),
    ),
    "other": ("riscv64", frozenset(), ()),
}


def on_cpu(monkeypatch: pytest.MonkeyPatch, name: str) -> tuple[str, ...]:
    machine, features, expected = CPUS[name]
    monkeypatch.delenv("TEOLA_ISA", raising=False)
    monkeypatch.setattr(instruction_sets.platform, "machine", lambda: machine)
    monkeypatch.setattr(instruction_sets, "cpu_features", lambda: features)
    return expected


@pytest.mark.parametrize("name", CPUS)
def test_a_cpu_runs_its_sets_best_first(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    expected = on_cpu(monkeypatch, name)
    assert isas_here() == expected
    assert wanted_isas() == expected


def test_one_set_is_chosen_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    on_cpu(monkeypatch, "ice lake")
    monkeypatch.setenv("TEOLA_ISA", "avx2")
    assert wanted_isas() == ("avx2",)


def test_an_unknown_set_is_refused_with_those_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    on_cpu(monkeypatch, "zen 3")
    monkeypatch.setenv("TEOLA_ISA", "avx3")
    with pytest.raises(ConfigError, match="TEOLA_ISA=avx3: .*unknown; there are avx512bf16, "):
        wanted_isas()


def test_a_set_of_another_cpu_is_refused_with_what_it_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    on_cpu(monkeypatch, "zen 3")
    with pytest.raises(ConfigError, match=r"does not run avx512, which needs .*; it runs avx2$"):
        set_here("avx512")


def test_integer_products_have_two_encodings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The AVX-512 one is for tests on servers: laptops have the other."""
    on_cpu(monkeypatch, "alder lake")
    assert "-mavxvnni" in set_here("avxvnni").flags
    on_cpu(monkeypatch, "ice lake")
    assert set_here("avxvnni").is_stand_in
    assert "-mavxvnni" not in set_here("avxvnni").flags
