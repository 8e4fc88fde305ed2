"""The demo: every step is a command that the user could have typed, and is shown as one."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.markup import escape
from rich.table import Table

from inference.console import console
from inference.contract.errors import PlayfuseError
from playfuse.demo.load import LOCUSTFILE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from playfuse.demo.load import LoadReport
    from playfuse.server_process import ServerProcess

SPEC: Final = "gran_turismo_sport"
_NEEDS: Final = ("locust",)
"""Beside the build half, without which there is no such command."""
_SIMULATED_PLAYERS: Final = 4_000
_USERS: Final = 16
_SHOWN_PLAYERS: Final = 5


def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything that is made.")] = Path("runs/demo"),
    simulate: Annotated[
        int | None,
        typer.Option(
            metavar="PLAYERS", min=100, help="Simulate so many players even if a real log is there.", show_default=False
        ),
    ] = None,
    load_seconds: Annotated[int, typer.Option(help="How long the load lasts.", min=1, max=600)] = 15,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the server running at the end.")] = False,
) -> None:
    """The whole way once: logs, teachers, one fused network, a server, predictions, load.

    Takes the real Gran Turismo Sport log where PLAYFUSE_DATA (or ../shared/data) has it, simulated players otherwise.
    Four minutes on two cores.

    [bold]Examples[/]

      playfuse demo

      playfuse demo --simulate 1000 --load-seconds 5 --keep
    """
    check_installed(_NEEDS, LOCUSTFILE)
    # Ended from outside, the demo still stops what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    start = time.monotonic()
    dataset, artifact = build(out, simulate)
    server = show(dataset, artifact, out, load_seconds=load_seconds, keep=keep)
    _say_what_next(server, artifact, keep=keep, seconds=time.monotonic() - start)


def check_installed(needs: Sequence[str], locustfile: Path) -> None:
    """Find out now, not after minutes of training.

    Raises:
        PlayfuseError: one of the packages or the Locust file is not there.
    """
    missing = [name for name in needs if find_spec(name) is None] + [locustfile.name] * (not locustfile.is_file())
    if missing:
        raise PlayfuseError(
            "playfuse demo",
            got=f"an install without {', '.join(missing)}",
            expected="a checkout with the build half and Locust",
            fix="Run `make demo` in a checkout; `playfuse serve --demo` needs none of them.",
        )


def build(out: Path, simulate: int | None) -> tuple[Path, Path]:
    """From session logs to an artifact in `out`; folders of the dataset and of the artifact.

    Raises:
        PlayfuseError: a step failed; it has said why.
    """
    dataset, teachers, artifact = out / "dataset", out / "teachers", out / "artifact"
    _command("Session logs → features and labels", "data", *_source(simulate), "--out", dataset)
    _command("Teachers, as a studio would have trained them", "train", dataset, "--preset", "demo", "--out", teachers)
    named = ("--teachers", teachers, "--recipe", "demo", "--out", artifact)
    _command("One network from all of them", "fuse", dataset, *named)
    return dataset, artifact


def show(dataset: Path, artifact: Path, out: Path, *, load_seconds: int, keep: bool) -> ServerProcess:
    """Serve the artifact, predict for some players, load the server.

    Whatever goes wrong, Ctrl-C included, the server is stopped.

    Returns:
        The server, still running if it is to be kept.
    """
    server = _serve(artifact, out)
    try:
        _predict(server, dataset)
        _load(server, out, load_seconds)
    except BaseException:
        server.stop()
        raise
    if not keep:
        server.stop()
    return server


def _source(simulate: int | None) -> Sequence[str | Path]:
    from fusion.telemetry.sources import find_log

    log = None if simulate else find_log(SPEC)
    return ("--simulate", str(simulate or _SIMULATED_PLAYERS)) if log is None else (log, "--spec", SPEC)


def _headline(text: str) -> None:
    console.print()
    console.rule(f"[bold]{text}[/]", align="left")


def _command(headline: str, *words: str | Path) -> None:
    """Run `playfuse WORDS` as a child, with this terminal as its own.

    Raises:
        PlayfuseError: it failed; it has said why.
    """
    _headline(headline)
    arguments = [str(word) for word in words]
    shown = shlex.join(["playfuse", *arguments])
    console.print(f"[dim]$ {escape(shown)}[/]", highlight=False, soft_wrap=True)
    done = subprocess.run([sys.executable, "-m", "playfuse", *arguments], check=False)
    if done.returncode:
        raise PlayfuseError(shown, got=f"exit code {done.returncode}", expected="0", fix="See its own message above.")


def _serve(artifact: Path, out: Path) -> ServerProcess:
    from playfuse import server_process

    _headline("The serving half, in a process of its own")
    console.print(f"[dim]$ playfuse serve {escape(str(artifact))}[/]", highlight=False, soft_wrap=True)
    start = time.monotonic()
    server = server_process.start([str(artifact)], out / "server.log")
    console.print(f"ready after {time.monotonic() - start:.1f} s: gRPC {server.address}, metrics {server.metrics_url}")
    return server


def _predict(server: ServerProcess, dataset: Path) -> None:
    from fusion.telemetry.dataset import Dataset
    from inference.client import Client
    from playfuse.demo.players import SHOWN, pick

    _headline("Players it has never seen: predicted (and what they did)")
    players = pick(Dataset.load(dataset), _SHOWN_PLAYERS)
    with Client(server.address, timeout_seconds=5.0) as client:
        prediction = client.predict(histories=[player.history for player in players], behaviours=SHOWN)
    table = Table()
    table.add_column("sessions", justify="right")
    for name in SHOWN:
        table.add_column(name, justify="right")
    for player, values in zip(players, prediction.values.tolist(), strict=True):
        cells = [f"{value:.2f} ({player.actual[name]:.3g})" for name, value in zip(SHOWN, values, strict=True)]
        table.add_row(str(player.sessions), *cells)
    console.print(table)
    console.print(
        f"answered by {prediction.model_name} {prediction.model_version}, from raw session records, in one call"
    )


def _load(server: ServerProcess, out: Path, seconds: int) -> None:
    from playfuse.demo import load

    _headline(f"{_USERS} callers for {seconds} s: lobbies of 64, single players, raw histories")
    with console.status("Locust is calling"):
        report = load.run(server, out, users=_USERS, seconds=seconds)
    console.print(_load_table(report))


def _load_table(report: LoadReport) -> Table:
    table = Table(show_header=False)
    rate = 1 / report.seconds
    rows = {
        "requests per second": f"{report.requests * rate:,.0f}",
        "players per second": f"{report.players * rate:,.0f}",
        "predictions per second": f"{report.predictions * rate:,.0f}",
        "p50 in the server": f"{report.p50_ms:.1f} ms",
        "p99 in the server": f"{report.p99_ms:.1f} ms",
        "failed requests": f"{report.failures}",
        "CPU per prediction": f"{report.cpu_us_per_prediction:.1f} µs",
    }
    for source, joules in report.joules_per_1000_predictions.items():
        origin = "estimated from CPU time" if source == "estimate" else f"measured: {source}"
        rows[f"joules per 1,000 predictions ({origin})"] = f"{joules:.3f}"
    for label, text in rows.items():
        table.add_row(label, f"[bold]{text}[/]")
    return table


def _say_what_next(server: ServerProcess, artifact: Path, *, keep: bool, seconds: float) -> None:
    _headline(f"Done in {seconds:.0f} s. What next")
    hints = {
        f"playfuse inspect {artifact}": "what is in the artifact, and how each step of fusing changed it",
        "playfuse data YOUR.csv --spec YOUR.yaml --out runs/mine": "your own logs: docs/quickstart.md",
        "docker compose -f deploy/compose/compose.yaml up --build": "server, Prometheus and Grafana: docs/deploy.md",
    }
    if keep:
        hints = {
            f"playfuse predict --target {server.address} --history '2026-01-05T18:00,3600'": "ask the running server",
            f"curl {server.metrics_url}": "its metrics",
            f"kill {server.pid}": "stop it (it drains first)",
        } | hints
    else:
        hints = {f"playfuse serve {artifact}": "serve it again (make demo KEEP=1 leaves the server running)"} | hints
    for command, text in hints.items():
        console.print(f"  [bold]{escape(command)}[/]\n      {text}", highlight=False, soft_wrap=True)
