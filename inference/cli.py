"""The serving half's commands. Heavy imports wait inside the commands, so that `--help` answers at once."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from inference import models_command
from inference.console import console, notes
from inference.contract.errors import InvalidRequest
from inference.security.command import app as tokens_app
from inference.serve_command import demo_artifact as demo_artifact
from inference.serve_command import serve

if TYPE_CHECKING:
    from inference.client import Prediction


class Urgency(StrEnum):
    """What an answer is for, as `--priority` has it: `core.Priority` in the same order, which loads NumPy."""

    LIVE = "live"
    PREFETCH = "prefetch"
    ANALYTICS = "analytics"


app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Run time: serve a fused model, ask it, look into it.",
)

_FEW_PLAYERS = 4


app.command()(serve)
app.add_typer(tokens_app, name="token")
app.add_typer(models_command.app, name="models")


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
    token: Annotated[
        str,
        typer.Option(envvar="PLAYFUSE_CLIENT_TOKEN", help="Shown to the server; other users may see a command line."),
    ] = "",
    tls: Annotated[
        bool, typer.Option("--tls", envvar="PLAYFUSE_CLIENT_TLS", help="Speak TLS; the options below imply it.")
    ] = False,
    tls_ca: Annotated[
        Path | None,
        typer.Option(envvar="PLAYFUSE_CLIENT_TLS_CA", help="The server's authorities, PEM.", show_default=False),
    ] = None,
    tls_certificate: Annotated[
        Path | None,
        typer.Option(envvar="PLAYFUSE_CLIENT_TLS_CERTIFICATE", help="mTLS: my certificate.", show_default=False),
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(envvar="PLAYFUSE_CLIENT_TLS_KEY", help="mTLS: its key.", show_default=False)
    ] = None,
    tls_server_name: Annotated[
        str,
        typer.Option(envvar="PLAYFUSE_CLIENT_TLS_SERVER_NAME", help="The name in the server's certificate."),
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
    model: Annotated[str, typer.Option(help="Which model; the only one, unless told.", show_default=False)] = "",
    version: Annotated[str, typer.Option(help="Which version; the live one, unless told.", show_default=False)] = "",
    routing_key: Annotated[
        str, typer.Option(help="Who is asked about: decides who meets a version on trial.", show_default=False)
    ] = "",
    priority: Annotated[
        Urgency, typer.Option(help="What the answer is for: under load the more urgent goes first.")
    ] = Urgency.LIVE,
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
    from inference.core import Priority
    from inference.security.channel import ClientTls

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
    priorities = dict(zip(Urgency, Priority, strict=True))
    secure = ClientTls(tls_ca, tls_certificate, tls_key, tls_server_name)
    known = secure if tls or secure != ClientTls() else None
    with Client(target, timeout_seconds=timeout_seconds, token=token, tls=known) as client:
        client.wait_until_ready(timeout_seconds)  # it may have been started a moment ago
        # In files and on the command line an empty cell or `nan` is written on purpose.
        prediction = client.predict(
            **form,
            behaviours=behaviour or (),
            nan_is_missing=True,
            model_name=model,
            model_version=version,
            routing_key=routing_key,
            priority=priorities[priority],
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
