"""The serving half's commands. Heavy imports wait inside the commands, so that `--help` answers at once."""

from __future__ import annotations

import json
import logging
import os
import time
from contextlib import suppress
from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from inference import models_command
from inference.console import console, notes
from inference.contract.errors import InvalidRequest

if TYPE_CHECKING:
    from inference.client import Prediction
    from inference.contract.artifact import Manifest
    from inference.server import Server

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Run time: serve a fused model, ask it, look into it.",
)

app.add_typer(models_command.app, name="models")

_UNANSWERED_EXIT_CODE = 1
_FEW_PLAYERS = 4
_FEW_FEATURES = 3


class Transports(StrEnum):
    """What `--transport` knows."""

    AUTO = "auto"
    NATIVE = "native"
    GRPCIO = "grpcio"


def demo_artifact() -> Path:
    """Folder of the artifact that ships in the package, trained on simulated players."""
    return Path(str(resources.files("inference") / "demo"))


def _address(text: str) -> str:
    if not text:
        msg = "an empty address; 0.0.0.0 is all of this machine's"
        raise typer.BadParameter(msg)
    return text


@app.command()
def serve(
    artifact: Annotated[
        Path | None, typer.Argument(help="Folder that `playfuse fuse` wrote.", show_default=False)
    ] = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="Serve the model that ships with playfuse (simulated players).")
    ] = False,
    host: Annotated[
        str, typer.Option(callback=_address, help="Address to listen on. Without TLS: keep it in a trusted network.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="gRPC port; 0 takes any free one.", min=0, max=65_535)] = 50_051,
    metrics_host: Annotated[str, typer.Option(callback=_address, help="Address of the metrics.")] = "127.0.0.1",
    metrics_port: Annotated[
        int, typer.Option(help="HTTP port of /metrics; 0 takes any free one.", min=0, max=65_535)
    ] = 9_464,
    threads: Annotated[int, typer.Option(help="Threads that handle calls.", min=1, max=256)] = 8,
    max_rows: Annotated[int, typer.Option(help="Players in one request, at most.", min=1, max=65_536)] = 1_024,
    max_message_bytes: Annotated[int, typer.Option(help="Size of one request, at most.", min=64)] = 4 * 1024 * 1024,
    max_queue_rows: Annotated[int, typer.Option(help="Players that may wait for the engine.", min=1)] = 8_192,
    max_waiting_requests: Annotated[int, typer.Option(help="Calls that may wait for a thread.", min=1)] = 512,
    drain_seconds: Annotated[
        float, typer.Option(help="After SIGTERM: seconds to serve on as NOT_SERVING.", min=0)
    ] = 0.0,
    grace_seconds: Annotated[
        float, typer.Option(help="Then: seconds the accepted calls have to finish.", min=0.1)
    ] = 10.0,
    watts_per_core: Annotated[
        float | None,
        typer.Option(
            help="Watts of a busy core, for the energy estimate where no counter is readable.",
            min=0.01,
            show_default=False,
        ),
    ] = None,
    transport: Annotated[
        Transports, typer.Option(help="Who carries the calls; auto: native where it is installed, else grpcio.")
    ] = Transports.AUTO,
    max_memory_bytes: Annotated[
        int | None,
        typer.Option(help="Address space of the process, at most.", min=512 * 1024 * 1024, show_default=False),
    ] = None,
    models: Annotated[
        Path | None,
        typer.Option(help="Serve all models of this folder, NAME/VERSION/ each an artifact.", show_default=False),
    ] = None,
    default_model: Annotated[
        str, typer.Option(help="With --models: who answers calls that name no model.", show_default=False)
    ] = "",
    admin_host: Annotated[
        str, typer.Option(callback=_address, help="With --models: address of the admin's port.")
    ] = "127.0.0.1",
    admin_port: Annotated[
        int, typer.Option(help="With --models: the admin's port; 0 takes any free one.", min=0, max=65_535)
    ] = 50_052,
) -> None:
    """Serve a model, or the models of a folder, over gRPC until SIGTERM or Ctrl-C, then finish what was accepted.

    [bold]Examples[/]

      playfuse serve --demo

      playfuse serve --models models

      playfuse serve runs/gts/artifact --host 0.0.0.0 --metrics-host 0.0.0.0
    """
    # Read by gRPC when it is first imported: without this listener a call costs less.
    os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener")
    from inference import server as servers
    from inference.settings import Limits, ServerSettings

    sources = {"an artifact": artifact is not None, "--demo": demo, "--models": models is not None}
    given = [source for source, is_given in sources.items() if is_given]
    if len(given) != 1:
        got = " and ".join(given) or "neither an artifact nor --demo nor --models"
        raise InvalidRequest("playfuse serve", got=got, expected="one of them")
    settings = ServerSettings(
        host=host,
        port=port,
        metrics_host=metrics_host,
        metrics_port=metrics_port,
        threads=threads,
        drain_seconds=drain_seconds,
        grace_seconds=grace_seconds,
        watts_per_core=watts_per_core,
        transport=transport.value,
        max_memory_bytes=max_memory_bytes,
        models=models,
        default_model=default_model,
        admin_host=admin_host,
        admin_port=admin_port,
        limits=Limits(
            max_rows_per_request=max_rows,
            max_batch_rows=max(max_rows, Limits().max_batch_rows),
            max_message_bytes=max_message_bytes,
            max_queue_rows=max(max_rows, max_queue_rows),
            max_waiting_requests=max_waiting_requests,
        ),
    )
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if not servers.serve(None if models else artifact or demo_artifact(), settings, on_ready=_announce):
        raise typer.Exit(_UNANSWERED_EXIT_CODE)


def _announce(server: Server) -> None:
    manifests, meter = server.manifests, server.meter
    measured = "measured (RAPL)" if meter.source == "rapl" else "estimated from CPU time"
    names = ", ".join(f"[bold]{escape(manifest.name)} {escape(manifest.version)}[/]" for manifest in manifests)
    is_synthetic = any(manifest.synthetic for manifest in manifests)
    synthetic = " [yellow](simulated players: for trying out, not for decisions)[/]" if is_synthetic else ""
    lines = {
        "serving": (names or "nothing; all models were unloaded") + synthetic,
        "gRPC": server.address,
        "metrics": server.metrics_url,
        "admin": server.admin_address,
        "transport": server.transport,
        "behaviours": "; ".join(", ".join(manifest.behaviour_names) for manifest in manifests),
        "energy": measured,
        "try": f"playfuse predict --target {server.address} {_example(manifests[0])}" if len(manifests) == 1 else "",
        "ready": f"{time.monotonic() - _process_start_seconds():.2f} s after the start; Ctrl-C or SIGTERM drains",
    }
    # A full disk under the log is no reason not to serve.
    with suppress(OSError):
        for label, text in lines.items():
            if not text:
                continue
            notes.print(f"[bold]{label:<11}[/]{text}", highlight=False, soft_wrap=True)


def _example(manifest: Manifest) -> str:
    """One player as this model can be asked about: sessions, or values by name where those are not enough."""
    if not manifest.own_features:
        return "--history '2026-01-05T18:00,3600;2026-01-06T20:30,1800'"
    values = zip(manifest.features, manifest.probe.rows[0], strict=True)
    known = [f"--feature {name}={value:g}" for name, value in values if value is not None]
    return " ".join(known[:_FEW_FEATURES])


def _process_start_seconds() -> float:
    """When this process was started, on the clock of `time.monotonic` (proc_pid_stat(5), field 22)."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    since_boot = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return since_boot + time.monotonic() - time.clock_gettime(time.CLOCK_BOOTTIME)


@app.command()
def predict(
    rows: Annotated[
        Path | None,
        typer.Option(
            help="CSV (with a header of feature names, or in the model's order) or JSON file, one row a player.",
            show_default=False,
        ),
    ] = None,
    feature: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", help="A feature of one player; repeat. Others are missing.", show_default=False
        ),
    ] = None,
    history: Annotated[
        str | None,
        typer.Option(
            metavar="START,SECONDS;…", help="Sessions of one player, or a JSON file of histories.", show_default=False
        ),
    ] = None,
    behaviour: Annotated[
        list[str] | None, typer.Option(help="What to predict; repeat. All, unless told.", show_default=False)
    ] = None,
    target: Annotated[str, typer.Option(help="The server, host:port.")] = "127.0.0.1:50051",
    timeout_seconds: Annotated[float, typer.Option(help="Deadline.", min=0.001)] = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
    model: Annotated[str, typer.Option(help="Which model; the only one, unless told.", show_default=False)] = "",
    version: Annotated[str, typer.Option(help="Which version; the live one, unless told.", show_default=False)] = "",
    routing_key: Annotated[
        str, typer.Option(help="Who is asked about: decides who meets a version on trial.", show_default=False)
    ] = "",
) -> None:
    """Ask a running server about some players, in one of three forms.

    Start a server with [bold]playfuse serve --demo[/] in another shell first.

    [bold]Examples[/]

      playfuse predict --history '2026-01-05T18:00,3600;2026-01-06T20:30,1800'

      playfuse predict --feature sessions_7d=3 --feature session_1_hours=0.8 --behaviour churn_7d

      playfuse predict --rows lobby.csv --json
    """
    from inference import inputs
    from inference.client import Client

    given = [name for name, form in (("--rows", rows), ("--feature", feature), ("--history", history)) if form]
    if len(given) != 1:
        raise InvalidRequest(
            "playfuse predict", got=" and ".join(given) or "no players", expected="one of --rows, --feature, --history"
        )
    if rows:
        form = inputs.read_rows(rows)
    elif history:
        form = inputs.parse_history(history)
    else:
        form = inputs.parse_features(feature or ())
    with Client(target, timeout_seconds=timeout_seconds) as client:
        client.wait_until_ready(timeout_seconds)  # it may have been started a moment ago
        # In files and on the command line an empty cell or `nan` is written on purpose.
        prediction = client.predict(
            **form,
            behaviours=behaviour or (),
            nan_is_missing=True,
            model_name=model,
            model_version=version,
            routing_key=routing_key,
        )
    if as_json:
        typer.echo(json.dumps(_prediction_json(prediction)))
    else:
        _print_prediction(prediction)


def _prediction_json(prediction: Prediction) -> dict[str, object]:
    return {
        "model_name": prediction.model_name,
        "model_version": prediction.model_version,
        "degraded": prediction.degraded,
        "dropped_sessions": prediction.dropped_sessions,
        "behaviours": list(prediction.behaviours),
        "values": prediction.values.tolist(),
    }


def _print_prediction(prediction: Prediction) -> None:
    table = Table(title=escape(f"{prediction.model_name} {prediction.model_version}"), title_justify="left")
    values = [[f"{value:.3f}" for value in row] for row in prediction.values.tolist()]
    if len(values) <= _FEW_PLAYERS:  # names as rows are never cut short
        table.add_column("behaviour")
        for player in range(len(values)):
            table.add_column(f"player {player}", justify="right")
        for column, name in enumerate(prediction.behaviours):
            table.add_row(escape(name), *(row[column] for row in values))
    else:
        table.add_column("player", justify="right")
        for name in prediction.behaviours:
            table.add_column(escape(name), justify="right", overflow="fold")
        for player, row in enumerate(values):
            table.add_row(str(player), *row)
    console.print(table)
    if prediction.degraded:
        notes.print("[yellow]degraded:[/] the model failed; these are its priors, the same for every player")
    if prediction.dropped_sessions:
        notes.print(f"{prediction.dropped_sessions} sessions were dropped or merged by cleaning")


@app.command()
def inspect(
    artifact: Annotated[Path, typer.Argument(help="Folder that `playfuse fuse` wrote.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Verify an artifact as the server would (hashes, schema, answers to its probe) and show what is in it.

    [bold]Examples[/]

      playfuse inspect runs/gts/artifact

      playfuse inspect runs/gts/artifact --json
    """
    from inference import engine, inspection

    loaded, _ = engine.load(artifact)
    if as_json:
        typer.echo(json.dumps(inspection.as_json(loaded)))
        return
    for table in inspection.tables(loaded):
        console.print(table)


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(help="Folder that `playfuse fuse` wrote.", show_default=False)],
    b: Annotated[Path, typer.Argument(help="Another one.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show two artifacts side by side: quality, size, CPU time, stages, and where their recipes differ.

    Both are verified first, as the server would.

    [bold]Examples[/]

      playfuse compare runs/monday runs/tuesday

      playfuse compare runs/monday runs/tuesday --json
    """
    from inference import comparison, engine

    loaded = [engine.load(path)[0] for path in (a, b)]
    if as_json:
        typer.echo(json.dumps(comparison.as_json(*loaded)))
        return
    for table in comparison.tables(*loaded):
        console.print(table)
    for note in comparison.notes(*loaded):
        console.print(note, markup=False, highlight=False)
