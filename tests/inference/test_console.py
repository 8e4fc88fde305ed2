from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import typer

from inference.console import USER_FAULT_EXIT_CODE, run
from inference.contract.errors import PlayfuseError

app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def work(wrong: bool = False) -> None:
    if wrong:
        raise PlayfuseError("log.csv, [column]", got="nothing", expected="'pid'", fix="Name it in the spec.")
    typer.echo("done")


def test_a_fault_is_told_on_standard_error_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(app, ["--wrong"])
    assert caught.value.code == USER_FAULT_EXIT_CODE == 2
    output = capsys.readouterr()
    assert output.out == ""
    for text in ("log.csv, [column]", "got      nothing", "expected 'pid'", "fix      Name it in the spec."):
        assert text in output.err
    assert "Traceback" not in output.err


def test_without_a_fault_the_exit_code_is_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(app, [])
    assert caught.value.code == 0
    assert capsys.readouterr().out == "done\n"


def test_a_wrong_option_is_a_users_fault_too(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(app, ["--wrnog"])
    assert caught.value.code == USER_FAULT_EXIT_CODE
    assert "wrnog" in capsys.readouterr().err


PRINTS = """
import typer
from inference.console import console, run

app = typer.Typer(pretty_exceptions_enable=False)

@app.command()
def work(lines: int, rich: bool = False) -> None:
    for line in range(lines):
        console.print(line) if rich else typer.echo(line)

run(app)
"""


@pytest.mark.process
@pytest.mark.parametrize("arguments", [["1"], ["1", "--rich"], ["100000"]], ids=["little", "rich", "much"])
@pytest.mark.parametrize(("output", "said"), [("/dev/full", "error standard output"), ("pipe", "")])
def test_output_that_nobody_can_take_is_no_traceback(
    tmp_path: Path, arguments: list[str], output: str, said: str
) -> None:
    program = tmp_path / "program.py"
    program.write_text(PRINTS)
    command = [sys.executable, str(program), *arguments]
    if output == "pipe":
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        process.stdout.close()
        errors = process.communicate(timeout=60)[1]
    else:
        with Path(output).open("w") as full:
            process = subprocess.Popen(command, stdout=full, stderr=subprocess.PIPE, text=True)
            errors = process.communicate(timeout=60)[1]
    assert process.returncode != 0
    assert errors.startswith(said)
    assert bool(errors) == bool(said)
    assert "Traceback" not in errors
    assert "ignored" not in errors
