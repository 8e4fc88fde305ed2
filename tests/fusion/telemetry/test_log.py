from __future__ import annotations

import gzip
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from fusion.telemetry.log import LogError, SessionLog, read_log
from fusion.telemetry.spec import Columns, Spec, Window
from inference.contract.history import COOP_UNKNOWN

T0 = datetime(2024, 3, 1, 12, tzinfo=UTC)
UNIX = int(T0.timestamp())
COLUMNS = Columns(player="pid", start="began", end="ended")
SPEC = Spec(name="game", columns=COLUMNS)
DURATION = Spec(name="game", columns=Columns(player="pid", start="began", duration="lasted"))


def csv(folder: Path, text: str, name: str = "log.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def sessions(log: SessionLog) -> list[tuple[str, int, int]]:
    """Player, seconds after T0, duration."""
    table = log.sessions
    rows = zip(log.player, table.start_seconds, table.duration_seconds, strict=True)
    return [(log.player_ids[player], int(start) - UNIX, int(duration)) for player, start, duration in rows]


def test_unsorted_rows_are_sorted_and_extra_columns_ignored(tmp_path: Path) -> None:
    text = (
        "noise,pid,ended,began\n"
        "x,b,2024-03-01T13:00:00Z,2024-03-01T12:00:00Z\n"
        "x,007,2024-03-03T12:30:00Z,2024-03-03T12:00:00Z\n"
        "x,007,2024-03-01T12:10:00Z,2024-03-01T12:00:00Z\n"
    )
    log = read_log(csv(tmp_path, text), SPEC)
    assert sessions(log) == [("007", 0, 600), ("007", 2 * 86_400, 1_800), ("b", 0, 3_600)]
    assert log.player_ids == ("007", "b")
    assert log.end_seconds == UNIX + 2 * 86_400 + 1_800
    assert not log.knows_coop
    assert set(log.sessions.coop) == {COOP_UNKNOWN}
    assert log.cleaning.kept == log.cleaning.rows == 3


def test_mixed_time_zones_become_utc(tmp_path: Path) -> None:
    text = (
        "pid,began,ended\n"
        "a,2024-03-01T12:00:00Z,2024-03-01T12:10:00Z\n"
        "b,2024-03-01T14:00:00+02:00,2024-03-01T07:10:00-05:00\n"
        "c,2024-03-01 13:00:00,2024-03-01T13:10:00.900\n"
        "d,2024-03-01T12:00:00.25Z,2024-03-01T17:40:00+0530\n"
    )
    log = read_log(csv(tmp_path, text), SPEC.model_copy(update={"time_zone": "Europe/Berlin"}))
    assert [session[1:] for session in sessions(log)] == [(0, 600)] * 4


def test_what_cannot_be_read_is_counted_by_reason(tmp_path: Path) -> None:
    text = (
        "pid,began,ended\n"
        "a,2024-03-01T12:00:00Z,2024-03-01T12:10:00Z\n"
        "a,2024-03-01T12:00:00Z,2024-03-01T12:10:00Z\n"
        ",2024-03-01T12:00:00Z,2024-03-01T12:10:00Z\n"
        "  ,2024-03-01T12:00:00Z,2024-03-01T12:10:00Z\n"
        "a,yesterday,2024-03-01T12:10:00Z\n"
        "a,,2024-03-01T12:10:00Z\n"
        "a,1969-01-01T00:00:00Z,2024-03-01T12:10:00Z\n"
        "a,2024-03-01T12:00:00Z,\n"
        "a,2024-03-01T12:00:00Z,2124-03-01T12:00:00Z\n"
        "a,2024-03-01T12:00:00Z,2024-03-01T11:00:00Z\n"
        "a,2024-03-01T12:00:00Z,2024-03-02T12:00:00Z\n"
    )
    cleaning = read_log(csv(tmp_path, text), SPEC).cleaning
    assert {reason: count for reason, count in cleaning.dropped.items() if count} == {
        "no_player": 2,
        "unparsable_start": 3,
        "unparsable_end": 2,
        "non_positive_duration": 1,
        "over_10_hours": 1,
        "duplicate": 1,
    }
    assert (cleaning.rows, cleaning.kept) == (11, 1)


def test_an_hour_that_clocks_skip_is_counted(tmp_path: Path) -> None:
    text = "pid,began,ended\na,2024-03-31T02:30:00,2024-03-31T04:00:00\na,2024-04-01T02:30:00,2024-04-01T03:00:00\n"
    log = read_log(csv(tmp_path, text), SPEC.model_copy(update={"time_zone": "Europe/Berlin"}))
    assert log.cleaning.unparsable_start == 1
    assert log.cleaning.kept == 1


def test_formats_are_tried_in_order(tmp_path: Path) -> None:
    text = "pid,began,ended\na,3/1/2024 12:00:00 PM,3/1/2024 12:10:00 PM\nb,1709294400,1709295000\nc,2024-03-01,x\n"
    spec = SPEC.model_copy(update={"time_formats": ("%m/%d/%Y %I:%M:%S %p", "unix_seconds")})
    log = read_log(csv(tmp_path, text), spec)
    assert sessions(log) == [("a", 0, 600), ("b", 0, 600)]
    assert log.cleaning.unparsable_start == 1


def test_patterns_with_an_offset_need_no_zone(tmp_path: Path) -> None:
    text = "pid,began,ended\na,01.03.2024 14:00 +0200,01.03.2024 12:10 +0000\n"
    spec = SPEC.model_copy(update={"time_formats": ("%d.%m.%Y %H:%M %z",), "time_zone": "Asia/Tokyo"})
    assert sessions(read_log(csv(tmp_path, text), spec)) == [("a", 0, 600)]


@pytest.mark.parametrize(
    ("unit", "value"), [("milliseconds", "600500"), ("seconds", "600.9"), ("minutes", "10"), ("hours", "0.16667")]
)
def test_durations_have_units(tmp_path: Path, unit: str, value: str) -> None:
    text = f"pid,began,lasted\na,2024-03-01T12:00:00Z,{value}\na,2024-03-02T12:00:00Z,nan\na,2024-03-03T12:00:00Z,-1\n"
    log = read_log(csv(tmp_path, text), DURATION.model_copy(update={"duration_unit": unit}))
    assert sessions(log) == [("a", 0, 600)]
    assert (log.cleaning.unparsable_end, log.cleaning.sessions.non_positive_duration) == (1, 1)


def test_coop_flags_are_read_and_strange_ones_unknown(tmp_path: Path) -> None:
    flags = ["TRUE", "yes", "1", "False", "0", "maybe", ""]
    rows = "".join(f"p{n},2024-03-01T12:00:00Z,60,{flag}\n" for n, flag in enumerate(flags))
    spec = Spec(name="game", columns=Columns(player="pid", start="began", duration="lasted", coop="group"))
    log = read_log(csv(tmp_path, "pid,began,lasted,group\n" + rows), spec)
    assert log.sessions.coop.tolist() == [1, 1, 1, 0, 0, COOP_UNKNOWN, COOP_UNKNOWN]
    assert log.knows_coop


def test_gzip_and_parquet_give_what_csv_gives(tmp_path: Path) -> None:
    start = [T0 + timedelta(hours=5 * n) for n in range(20)]
    frame = pl.DataFrame(
        {"pid": [n % 3 for n in range(20)], "began": start, "ended": [moment + timedelta(hours=1) for moment in start]}
    )
    text = frame.with_columns(pl.col("began", "ended").dt.strftime("%Y-%m-%dT%H:%M:%SZ")).write_csv()
    logs = [read_log(csv(tmp_path, text), SPEC)]
    (tmp_path / "log.csv.gz").write_bytes(gzip.compress(text.encode()))
    logs.append(read_log(tmp_path / "log.csv.gz", SPEC))
    frame.write_parquet(tmp_path / "aware.parquet")
    logs.append(read_log(tmp_path / "aware.parquet", SPEC))
    frame.with_columns(pl.col("began", "ended").dt.replace_time_zone(None)).write_parquet(tmp_path / "naive.parquet")
    logs.append(read_log(tmp_path / "naive.parquet", SPEC))
    numbers = frame.select("pid", pl.col("began").dt.epoch("ms"), lasted=pl.col("ended") - pl.col("began"))
    numbers.write_parquet(tmp_path / "numbers.parquet")
    spec = DURATION.model_copy(update={"time_formats": ("unix_milliseconds",)})
    logs.append(read_log(tmp_path / "numbers.parquet", spec))
    assert len({tuple(sessions(log)) for log in logs}) == 1
    assert len({log.sha256 for log in logs}) == 5


def test_an_id_that_is_nan_is_none(tmp_path: Path) -> None:
    times = {"began": [T0] * 4, "ended": [T0 + timedelta(hours=1)] * 4}
    pl.DataFrame({"pid": [1.0, math.nan, math.nan, None], **times}).write_parquet(tmp_path / "log.parquet")
    log = read_log(tmp_path / "log.parquet", SPEC)
    assert (log.player_ids, log.cleaning.no_player) == (("1.0",), 3)


def test_the_window_bounds_what_is_kept_and_what_is_told(tmp_path: Path) -> None:
    text = "pid,began,ended\na,2024-02-29T12:00:00Z,2024-02-29T13:00:00Z\na,2024-03-01T12:00:00Z,2024-03-01T13:00:00Z\n"
    window = Window(start=T0, end=T0 + timedelta(days=1))
    log = read_log(csv(tmp_path, text), SPEC.model_copy(update={"window": window}))
    assert log.cleaning.sessions.out_of_window == 1
    assert log.end_seconds == UNIX + 86_400


ROW = "a,2024-03-01T12:00:00Z,2024-03-01T13:00:00Z\n"


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("log.csv", b"pid,began,end\n" + ROW.encode(), "did you mean 'end'"),
        ("log.csv", b"pid,began,ended\n", "no rows"),
        ("log.csv", b"", "cannot be read"),
        ("log.csv", b"pid,began,ended\na,1.3.,2.3.\n", "'began': '1.3.'"),
        ("log.csv", b"pid,began,ended\n," + ROW[2:].encode(), "no_player: 1"),
        ("log.csv", b"pid,began,ended\na,2024-03-01T12:00:00Z,2024-03-01T12:00:00Z\n", "non_positive_duration: 1"),
        ("log.csv.gz", gzip.compress(b"pid,began,ended\n" + ROW.encode() * 4_000)[:-200], "cannot be read"),
        ("log.csv.gz", b"pid,began,ended\n" + ROW.encode(), ""),
        ("log.parquet", b"pid,began,ended\n" + ROW.encode(), "cannot be read"),
        ("log.xlsx", b"PK", "the ending '.xlsx'"),
    ],
)
def test_a_log_that_cannot_be_used_says_why(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    if not expected:  # plain text under a .gz name is read for what it is
        assert len(read_log(path, SPEC).sessions) == 1
        return
    with pytest.raises(LogError) as caught:
        read_log(path, SPEC)
    assert expected in str(caught.value)
    assert str(path) in str(caught.value)


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="no such file"):
        read_log(tmp_path / "none.csv", SPEC)
    with pytest.raises(LogError, match="a folder"):
        read_log(tmp_path, SPEC)


def test_a_window_that_the_log_does_not_reach_would_teach_that_everybody_left(tmp_path: Path) -> None:
    path = csv(tmp_path, "pid,began,ended\n" + ROW)
    with pytest.raises(LogError, match=r"window\.end"):
        read_log(path, SPEC.model_copy(update={"window": Window(end=T0 + timedelta(days=30))}))


def test_numbers_without_a_unit_are_not_guessed(tmp_path: Path) -> None:
    pl.DataFrame({"pid": ["a"], "began": [UNIX], "ended": [UNIX + 60]}).write_parquet(tmp_path / "log.parquet")
    with pytest.raises(LogError, match="unparsable_start: 1"):
        read_log(tmp_path / "log.parquet", SPEC)
