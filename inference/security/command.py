"""`playfuse token`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from inference.console import notes
from inference.contract.errors import PlayfuseError
from inference.security.tokens import Role, mint

app = typer.Typer(no_args_is_help=True, help="Tokens that callers show to a server.")


@app.callback()
def _token() -> None:
    pass


@app.command()
def new(
    role: Annotated[Role, typer.Option(help="predict: ask about players; admin: change what is served too.")],
    name: Annotated[str, typer.Option(help="Who will have it, for people who read the file.")] = "",
    file: Annotated[
        Path | None, typer.Option(help="Tokens file of the server: the line is added to it.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print both as JSON.")] = False,
) -> None:
    """Make a token. It is printed this once and stored nowhere; the server needs only its line, which holds a hash.

    [bold]Examples[/]

      playfuse token new --role predict --name lobby-eu --file tokens.txt

      playfuse token new --role admin --name ops
    """
    secret, token = mint(role, name)
    if file is not None:
        _append(file, token.line)
    if as_json:
        typer.echo(json.dumps({"token": secret, "line": token.line}))
        return
    typer.echo(f"token  {secret}")
    typer.echo(f"line   {token.line}")
    where = f"It is in {file}: servers" if file else "Put the line into the tokens file: servers"
    notes.print(f"The token is shown this once. {where} read it at their start.", markup=False, highlight=False)


def _append(file: Path, line: str) -> None:
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "r+b") as stream:
            before = stream.read()
            stream.write((b"" if not before or before.endswith(b"\n") else b"\n") + line.encode() + b"\n")
    except OSError as error:
        raise PlayfuseError(
            f"tokens file {file}", got=error.strerror or str(error), expected="a writable file"
        ) from error
