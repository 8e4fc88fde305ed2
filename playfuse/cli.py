"""The `playfuse` command: joins the two halves' commands, and shows the build half's only where it is installed."""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.markup import escape

from inference import cli as inference_cli
from inference.console import run
from inference.contract.errors import PlayfuseError

if TYPE_CHECKING:
    from collections.abc import Callable

FUSION_NEEDS: Final = ("torch", "tensorly", "polars")
"""What only the `fusion` extra installs."""

_INSTALL: Final = "pip install 'playfuse[fusion]'"
_FUSION_COMMANDS: Final = ("data", "statistics", "train", "fuse", "update", "report", "demo")


def main() -> None:
    """Entry point of the console script."""
    run(build(missing=[name for name in FUSION_NEEDS if find_spec(name) is None]))


def build(missing: list[str]) -> typer.Typer:
    """The whole command line, as far as it is installed.

    Args:
        missing: packages of the build half that are not installed.
    """
    app = typer.Typer(
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        help="Many player models fused into one small network, served in one batched gRPC call.\n\n"
        "Start here: [bold]playfuse serve --demo[/], then [bold]playfuse predict --help[/] in another shell.",
    )
    app.callback()(_options)
    app.add_typer(inference_cli.app)
    if missing:
        for command in _FUSION_COMMANDS:
            app.command(
                command,
                help=escape(f"Not installed: {_INSTALL}"),
                context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
            )(_stand_in(command, missing))
    else:
        from fusion import cli as fusion_cli
        from playfuse.demo.command import demo

        app.add_typer(fusion_cli.app)
        app.command()(demo)
    return app


def _options(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=lambda wanted: _print_version(wanted), help="Print the version."
        ),
    ] = False,
) -> None:
    pass


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"playfuse {version('playfuse')}")
        raise typer.Exit


def _stand_in(command: str, missing: list[str]) -> Callable[[], None]:
    """What a command of the build half does where that half is not installed."""

    def tell() -> None:
        raise PlayfuseError(
            f"playfuse {command}",
            got=f"an install without {', '.join(missing)}",
            expected="the build half",
            fix=_INSTALL,
        )

    return tell
