from __future__ import annotations

from pathlib import Path

import numpy as np

from fusion.telemetry.dataset import TableCleaning
from fusion.telemetry.log import Cleaning
from fusion.telemetry.read import read
from fusion.telemetry.spec import load_any_spec
from tests.support.tables import write_table


def test_logs_and_tables_are_read_as_their_spec_says(tmp_path: Path) -> None:
    file, spec = write_table(tmp_path, players=60)
    table = read(file, load_any_spec(spec), split=1)
    assert isinstance(table.cleaning, TableCleaning)
    assert not np.array_equal(table.split, read(file, load_any_spec(spec)).split)
    (tmp_path / "log.csv").write_text("who,from,long\nann,1700000000,600\nbob,1700000000,900\n")
    (tmp_path / "log.yaml").write_text(
        "name: tiny\ncolumns: {player: who, start: from, duration: long}\ntime_formats: [unix_seconds]\n"
    )
    log = read(tmp_path / "log.csv", load_any_spec(tmp_path / "log.yaml"))
    assert isinstance(log.cleaning, Cleaning)
    assert len(log.histories) == len(log) == 2
