from __future__ import annotations

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
