"""`playfuse serve`: settings from file, environment and flags, then one server or one per core."""

from __future__ import annotations

import json
import logging
import os
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.markup import escape
from rich.table import Table

from inference.console import console
from inference.contract.errors import InvalidRequest

if TYPE_CHECKING:
    from inference.configuration import Configuration

_UNANSWERED_EXIT_CODE: Final = 1
LOG_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"

SETTINGS: Final = {
    "host": "host",
    "port": "port",
    "metrics_host": "metrics_host",
    "metrics_port": "metrics_port",
    "insecure_public": "insecure_public",
    "tls_certificate": "tls.certificate_file",
    "tls_key": "tls.key_file",
    "tls_client_ca": "tls.client_ca_file",
    "tokens": "tokens_file",
    "workers": "workers",
    "pin_workers": "pin_workers",
    "max_connection_age_seconds": "max_connection_age_seconds",
    "threads": "threads",
    "max_rows": "limits.max_rows_per_request",
    "max_message_bytes": "limits.max_message_bytes",
    "max_queue_rows": "limits.max_queue_rows",
    "max_waiting_requests": "limits.max_waiting_requests",
    "drain_seconds": "drain_seconds",
    "grace_seconds": "grace_seconds",
    "watts_per_core": "watts_per_core",
    "transport": "transport",
    "max_memory_bytes": "max_memory_bytes",
    "models": "models",
    "default_model": "default_model",
    "admin_host": "admin_host",
    "admin_port": "admin_port",
}
"""Parameter of the command → the setting that it sets. Values and defaults are the model's alone."""


def demo_artifact() -> Path:
    """Folder of the artifact that ships in the package, trained on simulated players."""
    return Path(str(resources.files("inference") / "demo"))


def _address(text: str | None) -> str | None:
    if text == "":
        msg = "an empty address; 0.0.0.0 is all of this machine's"
        raise typer.BadParameter(msg)
    return text


def serve(
    context: typer.Context,
    artifact: Annotated[
        Path | None, typer.Argument(help="Folder that `playfuse fuse` wrote.", show_default=False)
    ] = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="Serve the model that ships with playfuse (simulated players).")
    ] = False,
    config: Annotated[
        Path | None, typer.Option(envvar="PLAYFUSE_CONFIG", help="Settings as TOML.", show_default=False)
    ] = None,
    show_config: Annotated[
        bool, typer.Option("--show-config", help="Print all settings and where they came from, and serve nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the settings as JSON.")] = False,
    host: Annotated[str | None, typer.Option(callback=_address, help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="gRPC port; 0 takes any free one.")] = None,
    metrics_host: Annotated[str | None, typer.Option(callback=_address, help="Address of the metrics.")] = None,
    metrics_port: Annotated[int | None, typer.Option(help="HTTP port of /metrics; 0 takes any free one.")] = None,
    insecure_public: Annotated[
        bool | None, typer.Option(help="Allow addresses beyond loopback without TLS (trusted networks, containers).")
    ] = None,
    tls_certificate: Annotated[Path | None, typer.Option(help="TLS: certificate chain, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="TLS: its private key, PEM.")] = None,
    tls_client_ca: Annotated[Path | None, typer.Option(help="mTLS: authorities of the clients, PEM.")] = None,
    tokens: Annotated[Path | None, typer.Option(help="Hashes of the tokens that callers must show.")] = None,
    workers: Annotated[str | None, typer.Option(metavar="N|auto", help="Processes on the port, or one a core.")] = None,
    pin_workers: Annotated[bool | None, typer.Option(help="Keep each worker on a core of its own.")] = None,
    max_connection_age_seconds: Annotated[
        float | None, typer.Option(help="Ask connections to close after it: new servers get their share.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Threads that handle calls.")] = None,
    max_rows: Annotated[int | None, typer.Option(help="Players in one request, at most.")] = None,
    max_message_bytes: Annotated[int | None, typer.Option(help="Size of one request, at most.")] = None,
    max_queue_rows: Annotated[int | None, typer.Option(help="Players that may wait for the engine.")] = None,
    max_waiting_requests: Annotated[int | None, typer.Option(help="Calls that may wait for a thread.")] = None,
    drain_seconds: Annotated[
        float | None, typer.Option(help="After SIGTERM: seconds to serve on as NOT_SERVING.")
    ] = None,
    grace_seconds: Annotated[
        float | None, typer.Option(help="Then: seconds the accepted calls have to finish.")
    ] = None,
    watts_per_core: Annotated[
        float | None, typer.Option(help="Watts of a busy core, for the energy estimate where no counter is readable.")
    ] = None,
    transport: Annotated[str | None, typer.Option(metavar="auto|native|grpcio", help="Who carries the calls.")] = None,
    max_memory_bytes: Annotated[int | None, typer.Option(help="Address space of a process, at most.")] = None,
    models: Annotated[
        Path | None, typer.Option(help="Serve all models of this folder, NAME/VERSION/ each an artifact.")
    ] = None,
    default_model: Annotated[
        str | None, typer.Option(help="With --models: who answers calls that name no model.")
    ] = None,
    admin_host: Annotated[
        str | None, typer.Option(callback=_address, help="With --models: address of the admin's port.")
    ] = None,
    admin_port: Annotated[
        int | None, typer.Option(help="With --models: the admin's port; 0 takes any free one.")
    ] = None,
) -> None:
    """Serve a model, or the models of a folder, over gRPC until SIGTERM or Ctrl-C, then finish what was accepted.

    Each setting comes from its flag, else from PLAYFUSE_…, else from the file, else it is the default.

    [bold]Examples[/]

      playfuse serve --demo

      playfuse serve --models models

      playfuse serve runs/gts/artifact --workers auto --tls-certificate server.pem --tls-key server.key --host 0.0.0.0

      playfuse serve --config server.toml --show-config
    """
    from inference import configuration

    flags = {
        key: configuration.Flag("--" + name.replace("_", "-"), value)
        for name, key in SETTINGS.items()
        if (value := context.params[name]) is not None
    }
    configured = configuration.load(config, flags)
    if show_config:
        _show(configured, as_json=as_json)
        return
    has_models = configured.settings.models is not None
    sources = {"an artifact": artifact is not None, "--demo": demo, "--models": has_models}
    given = [source for source, is_given in sources.items() if is_given]
    if len(given) != 1:
        got = " and ".join(given) or "neither an artifact nor --demo nor --models"
        raise InvalidRequest("playfuse serve", got=got, expected="one of them")
    if not run(demo_artifact() if demo else artifact, configured):
        raise typer.Exit(_UNANSWERED_EXIT_CODE)


def run(artifact: Path | None, configured: Configuration) -> bool:
    """Serve until a signal ends it; whether every accepted call was answered."""
    # Read by gRPC when it is first imported: without this listener a call costs less.
    os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener")
    from inference import announcement, open_files
    from inference.security import exposure
    from inference.supervision import supervisor

    settings = configured.settings
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    open_files.raise_limit()
    exposure.check(settings)
    if supervisor.count(settings) > 1:
        return supervisor.supervise(artifact, settings, on_ready=announcement.show)
    from inference import server as servers

    return servers.serve(artifact, settings, on_ready=lambda server: announcement.show(announcement.lines(server)))


def _show(configured: Configuration, *, as_json: bool) -> None:
    if as_json:
        shown = {key: {"value": value, "source": source} for key, value, source in configured.effective()}
        typer.echo(json.dumps(shown))
        return
    table = Table(title="settings", title_justify="left")
    for name in ("setting", "value", "from"):
        table.add_column(name, overflow="fold")
    for key, value, source in configured.effective():
        said = "" if value is None else json.dumps(value) if isinstance(value, bool) else str(value)
        table.add_row(key, escape(said), escape(source))
    console.print(table)
