"""`teola simulate chat --trace FILE`: an LLM serves the requests of a trace, without an app."""

from collections.abc import Mapping, Sequence

from rich.console import Console

from teola.cli.app_arguments import Command, parse_options
from teola.cli.consoles import stderr_console, stdout_console
from teola.cli.failures import UsageError, reported
from teola.cli.options import Option
from teola.cli.results import json_text
from teola.cli.simulate_command import OPTIONS, load_of, log_of, policies_of
from teola.cli.simulate_tables import check_any, figures_table, shown_progress
from teola.simulation.chat import Chat
from teola.simulation.fleet import with_policy
from teola.simulation.served import Figures

_OF_APPS = ("inputs", "engine")
CHAT_OPTIONS = (
    Option("model", "of the catalogue (teola device list)", "NAME", {"default": "llama-3.1-8b"}),
    Option("llm", "another emulated LLM, instead of --engines and --model", "URL"),
    *(option for option in OPTIONS if option.name not in _OF_APPS),
)
ABOUT = (
    "Serve the requests of a trace by an emulated LLM: prompts and texts of its lengths, which "
    "share the prefixes that it names. The scheduler is the real one; the engine jumps over the "
    "steps in which nothing changes (detail=events), so that a million requests take minutes."
)


def run_chat(words: Sequence[str]) -> None:
    """The whole command; ends the process when anything fails."""
    with reported("--debug" in words):
        options = parse_options(Command("teola simulate chat", ABOUT, CHAT_OPTIONS), words)
        if options.trace is None:
            raise UsageError("which requests? name a trace: --trace FILE")
        url = options.llm or f"emulated:{options.engines}/{options.model}?detail=events"
        policies = policies_of(options.policy or "fcfs")
        load = load_of(options)
        total = sum(1 for _ in load.arrivals())
        console = Console(quiet=True) if options.quiet else stderr_console(options.no_color)
        found: dict[str, Figures] = {}
        with shown_progress(console, len(policies) * total) as progress:
            for number, policy in enumerate(policies):
                progress.begin(policy or "", number * total)
                log = log_of(options.log, policy, is_one_of_several=len(policies) > 1)
                chat = Chat(with_policy(url, policy), log)
                found[str(policy)] = chat.run(load.arrivals(), policy, progress.ended)
        if options.json:
            print(json_text(_report(url, options.trace, load.seed, found)))
        else:
            stdout_console(options.no_color).print(figures_table(url, found))
        check_any(found)


def _report(url: str, trace: str, seed: int, found: Mapping[str, Figures]) -> Mapping[str, object]:
    figures = {name: each.as_json() for name, each in found.items()}
    return {"engine": url, "trace": trace, "seed": seed, "policies": figures}
