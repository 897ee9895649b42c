"""`teola fusion-check MODEL`: what each plan of KV cache fusion loses on a model."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from backends.fusion_profile import FusionProfile, PlanQuality, save
from backends.optional import optional_imports
from teola.cli.consoles import stderr_console, stdout_console
from teola.cli.failures import reported
from teola.cli.results import json_text
from teola.viewer.formats import percent
from teola.viewer.tables import number_table

if TYPE_CHECKING:
    from teola.fusion_check.check import Losses, Settings


def check_fusion(
    model: str,
    plans: Sequence[str],
    num_questions: int,
    floor: float,
    dtype: str,
    as_json: bool,
    no_color: bool,
    debug: bool,
) -> None:
    """The whole command; ends the process when anything fails."""
    with reported(debug):
        console = stderr_console(no_color)
        if model.startswith("teola:"):
            path = save(profile := _served(model))
        else:
            with optional_imports("local"):
                from teola.fusion_check.check import Settings, finish, journal_path, url_of
                from teola.fusion_check.questions import read_questions
            questions = read_questions(most=num_questions)
            settings = Settings(url_of(model), questions, plans, floor, dtype)
            path = save(profile := finish(settings, _measured(settings, console)))
            journal_path(settings.url).unlink(missing_ok=True)
        if as_json:
            print(json_text(profile, indent=2))
        else:
            stdout_console(no_color).print(_table(profile))
        console.print(f"kept in {path}", style="dim", soft_wrap=True)


def _served(url: str) -> FusionProfile:
    from teola.fusion_check.served_profile import fetch

    return asyncio.run(fetch(url))


def _measured(settings: Settings, console: Console) -> Losses:
    from teola.fusion_check.check import check

    num_questions, num_plans = len(settings.questions), len(settings.all_plans)
    console.print(f"{settings.url}: {num_plans} plans on {num_questions} questions", style="dim")
    columns = TextColumn("prompts"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=num_questions * num_plans)
        try:
            return asyncio.run(check(settings, lambda: progress.advance(task)))
        except KeyboardInterrupt:
            progress.stop()
            console.print("what was measured is kept: the same command goes on from there")
            raise


def _table(profile: FusionProfile) -> Table:
    """Cheapest first."""
    table = number_table("plan", ["cost", "KL", "same likeliest", "R", "95 %"], "")
    table.title = f"{profile.model}, prompts of {profile.num_tokens or 0:,} tokens"
    for plan, its in sorted(profile.plans.items(), key=lambda item: item[1].cost):
        table.add_row(
            plan,
            percent(its.cost, 1),
            "-" if its.kl is None else f"{its.kl:.4f}",
            "-" if its.top1 is None else percent(its.top1, 1),
            f"{its.r:.2f}",
            "-" if its.r_low is None else f"{its.r_low:.2f} to {its.r_high:.2f}",
            _verdict(its, profile.floor),
        )
    return table


def _verdict(quality: PlanQuality, floor: float) -> Text:
    return Text(f"refused: R below {floor:g}", "yellow") if quality.r < floor else Text()
