"""The real log that a benchmark of fusion is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusion.telemetry.read import read
from fusion.telemetry.sources import data_folder, find_log
from fusion.telemetry.spec import load_any_spec

if TYPE_CHECKING:
    import argparse

    from fusion.telemetry.dataset import Dataset


def read_game(name: str, parser: argparse.ArgumentParser) -> Dataset:
    """Its players; where the log is not there, the parser ends the program and says so."""
    log = find_log(name)
    if log is None:
        parser.error(f"no log of {name} in {data_folder()}: set PLAYFUSE_DATA")
    return read(log, load_any_spec(name))
