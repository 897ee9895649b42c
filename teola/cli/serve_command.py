"""`teola serve APP...`: apps as an HTTP service."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from backends.optional import optional_imports
from backends.policy.named import POLICIES
from frontend_dsl.engine_names import engines_read_by
from teola.cli.failures import UsageError, reported
from teola.cli.serve_engine_command import say
from teola.cli.server_options import ServerOptions, check_finite
from teola.cli.target import AnyApp, load_app
from teola.cli.tenant_option import check_header


@dataclass(frozen=True, slots=True)
class KeepsRuns:
    """The options of runs on the disk; without a folder there are none."""

    folder: Path | None = None
    resumes: bool = False
    most_runs: int = 10_000
    days: float | None = None

    def check(self) -> None:
        """Raises UsageError for options that would change nothing."""
        if self.folder is None and self != KeepsRuns():
            raise UsageError("--resume, --keep-runs and --keep-days need --runs FOLDER")
        check_finite("--keep-days", self.days or 1.0)


@dataclass(frozen=True, slots=True)
class Orders:
    """The options that say whose run goes first."""

    policy: str | None = None
    tenant_header: str | None = None

    def of(self, apps: Sequence[AnyApp]) -> list[AnyApp]:
        """The apps with this policy. Raises UsageError for an unknown one."""
        if self.policy is None:
            return [*apps]
        if self.policy not in POLICIES:
            known = ", ".join(sorted(POLICIES))
            raise UsageError(f"--policy {self.policy!r}: no such policy; there are {known}")
        return [app.using(policy=self.policy) for app in apps]


def serve_apps(
    targets: Sequence[str],
    engines: Sequence[str],
    max_runs: int,
    run_timeout_s: float | None,
    shows_errors: bool,
    keeps: KeepsRuns,
    orders: Orders,
    server: ServerOptions,
    debug: bool,
) -> None:
    """The whole command; ends the process when anything fails."""
    with reported(debug):
        with optional_imports("serve"):
            from teola.app_serving.app import make_app
            from teola.app_serving.kept_runs import Keeping
            from teola.app_serving.retention import Retention
            from teola.app_serving.service import AppService
            from teola.serving.process import serve
        settings = server.settings
        keeps.check()
        check_header(orders.tenant_header)
        origins, hosts = server.origins, server.hosts
        if run_timeout_s is not None and not run_timeout_s > 0:
            raise UsageError(f"--run-timeout is {run_timeout_s}; it must be above 0")
        check_finite("--run-timeout", run_timeout_s or 1.0)
        apps = orders.of(with_engines(load_apps(targets), engines))
        if server.otel is not None:
            apps = [app.using(otel=server.otel) for app in apps]
        keeping: Keeping | None = None
        if keeps.folder is not None:
            retention = Retention(keeps.most_runs, keeps.days)
            keeping = Keeping(keeps.folder, retention, keeps.resumes)
        service = AppService(
            apps,
            max_runs,
            run_timeout_s,
            shows_errors=shows_errors,
            keeping=keeping,
            tenant_header=orders.tenant_header,
        )
        serve(service, settings, say, partial(make_app, origins=origins, hosts=hosts))


def load_apps(targets: Sequence[str]) -> list[AnyApp]:
    """Raises UsageError or CommandError."""
    if not targets:
        raise UsageError("name an app to serve: teola serve app.py:name")
    return [load_app(target) for target in targets]


def with_engines(apps: Sequence[AnyApp], words: Sequence[str]) -> list[AnyApp]:
    """The apps with other engines, each with those that it has. Raises UsageError for a name that
    no app knows."""
    urls = dict(_engine(word) for word in words)
    known = [engines_read_by(app._app_function).keys() for app in apps]
    for name in urls:
        if not any(name in names for names in known):
            has = ", ".join(dict.fromkeys(name for names in known for name in names)) or "none"
            raise UsageError(f"--engine {name}=: no app has an engine {name!r}; there are {has}")
    return [
        app.using(engines={**app.options.engines, **{n: u for n, u in urls.items() if n in names}})
        for app, names in zip(apps, known, strict=True)
    ]


def _engine(word: str) -> tuple[str, str]:
    name, _, url = word.partition("=")
    if not name or ":" not in url:
        raise UsageError(f"--engine takes NAME=URL, like llm=local:smollm2-135m; got {word!r}")
    return name, url
