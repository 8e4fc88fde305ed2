"""`playfuse models`: what a running server serves, and how to change it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from inference.console import console, notes
from inference.contract.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from inference.admin_client import AdminClient
    from inference.pb.playfuse.v1 import model_admin_pb2 as pb

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="See and change what a server of several models serves (playfuse serve --models).",
)

Name = Annotated[str, typer.Argument(help="The model.", show_default=False)]
Admin = Annotated[str, typer.Option("--admin", help="The server's admin port, host:port.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]
Version = Annotated[str, typer.Argument(help="The version.", show_default=False)]
Percent = Annotated[
    float | None, typer.Option(min=0, max=100, help="Share of the traffic, in percent.", show_default=False)
]
Stop = Annotated[bool, typer.Option("--stop", help="End it.")]
Token = Annotated[
    str,
    typer.Option(envvar="PLAYFUSE_CLIENT_TOKEN", help="Shown to the server; other users may see a command line."),
]
_ADMIN = "127.0.0.1:50052"


@app.command("list")
def list_models(admin: Admin = _ADMIN, as_json: AsJson = False, token: Token = "") -> None:
    """Show every model: its live version, versions on trial and how they do, versions that could not be loaded.

    [bold]Examples[/]

      playfuse models list

      playfuse models list --admin 127.0.0.1:50052 --json
    """
    _ask(admin, token, as_json, lambda client: client.list())


@app.command()
def load(
    name: Name,
    version: Annotated[str, typer.Argument(help="The version; the newest, unless told.", show_default=False)] = "",
    admin: Admin = _ADMIN,
    as_json: AsJson = False,
    token: Token = "",
) -> None:
    """Make a version live: it is verified and warmed up first, and no call is lost.

    [bold]Examples[/]

      playfuse models load retention

      playfuse models load retention 1.10
    """
    _ask(admin, token, as_json, lambda client: client.load(name, version))


@app.command()
def unload(name: Name, admin: Admin = _ADMIN, as_json: AsJson = False, token: Token = "") -> None:
    """Serve a model no more; calls under way are answered.

    [bold]Examples[/]

      playfuse models unload retention
    """
    _ask(admin, token, as_json, lambda client: client.unload(name))


@app.command()
def promote(name: Name, admin: Admin = _ADMIN, as_json: AsJson = False, token: Token = "") -> None:
    """Make the version on trial the live one.

    [bold]Examples[/]

      playfuse models promote retention
    """
    _ask(admin, token, as_json, lambda client: client.promote(name))


@app.command()
def rollback(name: Name, admin: Admin = _ADMIN, as_json: AsJson = False, token: Token = "") -> None:
    """Make the version live again that was so before: one step.

    [bold]Examples[/]

      playfuse models rollback retention
    """
    _ask(admin, token, as_json, lambda client: client.rollback(name))


@app.command()
def canary(
    name: Name,
    version: Version = "",
    percent: Percent = None,
    stop: Stop = False,
    admin: Admin = _ADMIN,
    as_json: AsJson = False,
    token: Token = "",
) -> None:
    """Let a version answer a share of the players, change that share, or take the version back.

    [bold]Examples[/]

      playfuse models canary retention 1.10 --percent 5

      playfuse models canary retention --stop
    """
    if share := _share("canary", version, percent, stop):
        _ask(admin, token, as_json, lambda client: client.start_canary(name, *share))
    else:
        _ask(admin, token, as_json, lambda client: client.stop_canary(name))


@app.command()
def shadow(
    name: Name,
    version: Version = "",
    percent: Percent = None,
    stop: Stop = False,
    admin: Admin = _ADMIN,
    as_json: AsJson = False,
    token: Token = "",
) -> None:
    """Have a version answer copies of calls, to see how far its answers are from the live ones; or end that.

    [bold]Examples[/]

      playfuse models shadow retention 1.10 --percent 20

      playfuse models shadow retention --stop
    """
    if share := _share("shadow", version, percent, stop):
        _ask(admin, token, as_json, lambda client: client.start_shadow(name, *share))
    else:
        _ask(admin, token, as_json, lambda client: client.stop_shadow(name))


def _share(command: str, version: str, percent: float | None, stop: bool) -> tuple[str, float] | None:
    """The version and its percentage; none where it is to stop."""
    if stop and not version and percent is None:
        return None
    if stop or not version or percent is None:
        given = [
            word
            for word, there in (("VERSION", version), ("--percent", percent is not None), ("--stop", stop))
            if there
        ]
        raise InvalidRequest(
            f"playfuse models {command}",
            got=" and ".join(given) or "neither",
            expected="VERSION and --percent, or --stop alone",
        )
    return version, percent


def _ask(admin: str, token: str, as_json: bool, call: Callable[[AdminClient], Any]) -> None:
    from google.protobuf.json_format import MessageToJson

    from inference.admin_client import AdminClient

    with AdminClient(admin, token=token) as client:
        reply = call(client)
    if as_json:
        typer.echo(
            MessageToJson(
                reply, preserving_proto_field_name=True, always_print_fields_with_no_presence=True, indent=None
            )
        )
    else:
        models = reply.models if hasattr(reply, "models") else [reply.model]
        console.print(_table(models))
        for model in models:
            for line in _trials(model):
                console.print(line, markup=False, highlight=False, soft_wrap=True)
    if reply.warning:
        notes.print(f"[yellow]warning:[/] {escape(reply.warning)}", soft_wrap=True)


def _table(models: Iterable[pb.ModelStatus]) -> Table:
    table = Table("model", "version", "role", "fault")
    for model in models:
        for version in model.versions:
            role = _role(version.role) or ("previous" if version.version == model.previous_version else "")
            table.add_row(*map(escape, (model.name, version.version, role, version.fault)))
        if not model.versions:
            table.add_row(escape(model.name), "", "", "")
    return table


def _role(role: int) -> str:
    from inference.pb.playfuse.v1 import model_admin_pb2 as pb

    return pb.VersionRole.Name(role).removeprefix("VERSION_ROLE_").lower() if role else ""


def _trials(model: pb.ModelStatus) -> Iterable[str]:
    """How trials go, in lines."""
    if not model.live_version:
        yield f"{model.name} is not served"
    if model.HasField("canary"):
        own = model.canary
        yield f"{model.name} {own.version} on trial with {own.percent:g} % of the keys; in the last minutes:"
        for label, tally in ((f"live {model.live_version}", own.live_tally), (own.version, own.canary_tally)):
            yield f"  {label}: {tally.calls} calls, {tally.errors} errors, {tally.mean_seconds * 1e3:.3g} ms each"
    if model.HasField("shadow"):
        copy = model.shadow
        yield (
            f"{model.name} {copy.version} in the shadow with {copy.percent:g} % of the calls: "
            f"{copy.compared} compared, {copy.dropped} dropped, {copy.failed} failed; differences from live:"
        )
        for one in copy.differences:
            yield f"  {one.behaviour}: mean {one.mean:.3g}, largest {one.largest:.3g} {one.unit}"
    if model.last_canary:
        yield f"{model.name} last trial: {model.last_canary}"
