from __future__ import annotations

import hashlib
from dataclasses import fields
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.errors import FusionError
from fusion.telemetry.dataset import Dataset, Split
from fusion.telemetry.log import LogError
from fusion.telemetry.table import TableError, read_table
from fusion.telemetry.table_spec import Condition, Label, TableSpec
from inference.contract.behaviours import Kind

STAYS = Label(name="stays", kind=Kind.BINARY, description="still there", columns=("july",), at_least=1)
HOURS = Label(name="hours", kind=Kind.REGRESSION, unit="hours", description="played", columns=("june", "july"))
ASK = TableSpec(
    kind="table",
    name="arena",
    player="id",
    features={"skill": "rating", "latency_ms": "ping"},
    behaviours=(HOURS, STAYS),
    missing=("?", "-1"),
)
ROWS = {
    "id": ["ann", "bob", "cid", "dee"],
    "rating": ["10", " 2.5 ", "-1.0", "1e3"],
    "ping": ["", "?", "30", "-1"],
    "june": ["1", "2", "3", "?"],
    "july": ["0", "5", "0.5", "4"],
    "guild": ["x", "y", "x", "y"],
}


def table(folder: Path, **changed: list[str] | list[float] | list[int]) -> Path:
    path = folder / "table.csv"
    pl.DataFrame(ROWS | changed).write_csv(path)
    return path


def spec(**changed: object) -> TableSpec:
    return ASK.model_copy(update=changed)


def test_columns_become_features_and_behaviours(tmp_path: Path) -> None:
    path = table(tmp_path)
    dataset = read_table(path, spec(notice="[by] nobody", synthetic=True))
    nan = np.nan
    np.testing.assert_array_equal(
        dataset.features, np.array([[10, nan], [2.5, nan], [nan, 30], [1000, nan]], dtype=np.float32)
    )
    assert dataset.features.dtype == dataset.labels.dtype == np.float32
    assert dataset.feature_names == ("skill", "latency_ms")
    assert [behaviour.name for behaviour in dataset.behaviours] == ["stays", "hours"]
    np.testing.assert_array_equal(dataset.labels, np.array([[0, 1], [1, 7], [0, 3.5], [1, nan]], dtype=np.float32))
    assert dataset.censored == {"stays": 0, "hours": 1}
    assert (dataset.name, dataset.notice, dataset.synthetic) == ("arena", "[by] nobody", True)
    assert dataset.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert dataset.player.tolist() == [0, 1, 2, 3]


def test_a_parquet_file_of_numbers_says_the_same(tmp_path: Path) -> None:
    numbers = pl.DataFrame(ROWS).select(
        "id",
        *(
            pl.col(name).str.strip_chars().replace("?", None).cast(pl.Float64, strict=False)
            for name in ("rating", "ping", "june", "july")
        ),
    )
    numbers.write_parquet(tmp_path / "table.parquet")
    binary = read_table(tmp_path / "table.parquet", ASK)
    text = read_table(table(tmp_path), ASK)
    np.testing.assert_array_equal(binary.features, text.features)
    np.testing.assert_array_equal(binary.labels, text.labels)
    np.testing.assert_array_equal(binary.split, text.split)


def test_whole_numbers_and_flags_are_numbers_and_nan_is_unknown(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "id": [7, 8, 9],
            "rating": [True, False, None],
            "ping": [-1, 3, 3],
            "june": [np.nan, 0, 2],
            "july": [True, False, True],
        }
    )
    frame.write_parquet(tmp_path / "table.parquet")
    dataset = read_table(tmp_path / "table.parquet", ASK)
    np.testing.assert_array_equal(dataset.features, np.array([[1, np.nan], [0, 3], [np.nan, 3]], dtype=np.float32))
    np.testing.assert_array_equal(dataset.labels, np.array([[1, np.nan], [0, 0], [1, 3]], dtype=np.float32))


def test_an_id_that_is_nan_is_none(tmp_path: Path) -> None:
    ids = pl.Series([7.0, np.nan, np.nan, None, 8.0, 9.0, 10.0, 11.0])
    pl.DataFrame({name: 2 * values for name, values in ROWS.items()} | {"id": ids}).write_parquet(
        tmp_path / "table.parquet"
    )
    dataset = read_table(tmp_path / "table.parquet", ASK)
    assert dataset.cleaning.dropped == {"no_player": 3, "repeated_player": 0, "not_kept": 0}


def test_players_are_split_by_the_hash_of_their_id(tmp_path: Path) -> None:
    ids = [f"player {index}" for index in range(200)]
    path = table(tmp_path, **{name: (values * 50) for name, values in ROWS.items()} | {"id": ids})
    for split in (0, 3):
        dataset = read_table(path, ASK, split=split)
        digests = [hashlib.md5(name.encode()).digest()[2 * split : 2 * split + 2] for name in ids]
        expected = [Split.TEST if a < 51 else Split.VALIDATION if a < 76 else Split.TRAIN for a, _ in digests]
        assert dataset.split.tolist() == expected
        assert dataset.fold.tolist() == [b % 2 for _, b in digests]


def test_what_is_dropped_is_counted(tmp_path: Path) -> None:
    keep = (Condition(columns=("june", "july"), at_least=1, at_most=6),)
    rows = {name: [*values, *values] for name, values in ROWS.items()}
    july = ["0", "5", "0.5", "4", "2", "5", "1", "4"]
    path = table(tmp_path, **rows | {"id": ["a", "", "c", "d", "e", "f", "c", "g"], "july": july})
    dataset = read_table(path, spec(keep=keep, repeated_players="drop", behaviours=(STAYS,), missing=("?",)))
    # a and e stay, the second row has no id, c has two rows, nobody knows d's and g's June, f played 7 hours.
    assert dataset.cleaning.dropped == {"no_player": 1, "repeated_player": 2, "not_kept": 3}
    assert (dataset.cleaning.rows, dataset.cleaning.kept, len(dataset)) == (8, 2, 2)


@pytest.mark.parametrize(
    ("columns", "changed", "expected"),
    [
        (
            {"rating": ["10", "fast", "3", "quick"]},
            {},
            "column 'rating': got 'fast' in row 2, the first of 2 such rows",
        ),
        ({"rating": ["10", "fast", "3", "4"]}, {}, "missing: ['fast']"),
        ({"rating": ["10", "inf", "3", "4"]}, {}, "got 'inf' in row 2"),
        ({"rating": ["10", "1e39", "3", "4"]}, {}, "numbers, at most 3.4e+38"),
        ({"id": ["ann", "bob", "cid", "bob"]}, {}, "player 'bob' in rows 2 and 4, 2 rows of repeated ids in all"),
        ({"id": ["", " ", "", ""]}, {}, "got 4 rows, none of use (no_player: 4)"),
        ({"july": ["0", "0", "0", "?"]}, {}, "behaviour stays: got 0 in every row that knows it"),
        ({"july": ["?", "?", "?", "?"]}, {}, "behaviour stays: got no row that knows it"),
        ({"june": ["-9", "2", "3", "4"]}, {}, "behaviour hours: got -9, expected amounts of 0 or more"),
        ({}, {"behaviours": (STAYS.model_copy(update={"at_least": None}),)}, "got values such as 5, expected 0 or 1"),
        ({}, {"keep": (Condition(columns=("july",), at_least=99),)}, "none of use (not_kept: 4)"),
    ],
)
def test_a_fault_of_the_table_is_told(
    tmp_path: Path, columns: dict[str, list[str]], changed: dict[str, object], expected: str
) -> None:
    with pytest.raises(TableError) as caught:
        read_table(table(tmp_path, **columns), spec(**changed))
    assert expected in str(caught.value)
    assert str(tmp_path / "table.csv") in caught.value.where


def test_a_table_of_no_rows_or_of_other_columns_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("id,rating,ping,june,july\n")
    with pytest.raises(TableError, match="got 0 rows, expected a row per player"):
        read_table(tmp_path / "empty.csv", ASK)
    (tmp_path / "other.csv").write_text("id,raiting,ping,june,july\n1,2,3,4,5\n")
    with pytest.raises(LogError, match=r"expected a column 'rating'.*did you mean 'raiting'"):
        read_table(tmp_path / "other.csv", ASK)
    with pytest.raises(LogError, match="no such file"):
        read_table(tmp_path / "none.csv", ASK)


def test_a_column_of_times_is_no_number(tmp_path: Path) -> None:
    frame = pl.DataFrame(ROWS).with_columns(
        rating=pl.datetime_range(pl.date(2024, 1, 1), pl.date(2024, 1, 4), "1d", eager=True)
    )
    frame.write_parquet(tmp_path / "table.parquet")
    with pytest.raises(TableError, match="column 'rating': got values of type Datetime"):
        read_table(tmp_path / "table.parquet", ASK)


def test_a_table_has_no_histories(tmp_path: Path) -> None:
    dataset = read_table(table(tmp_path), ASK)
    assert dataset.recorded is None
    with pytest.raises(FusionError, match="dataset arena: got rows without sessions"):
        _ = dataset.histories
    with pytest.raises(FusionError, match="boosted, mlp and logistic ones need no sessions"):
        dataset.sequences(np.array([0]))


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    dataset = read_table(table(tmp_path), ASK)
    for one in (dataset, dataset.subset(np.array([3, 1]))):
        one.save(tmp_path / "data")
        other = Dataset.load(tmp_path / "data")
        for field in fields(Dataset):
            a, b = getattr(one, field.name), getattr(other, field.name)
            assert a.tobytes() == b.tobytes() if isinstance(a, np.ndarray) else a == b, field.name


@settings(max_examples=30)
@given(
    values=st.lists(st.lists(st.integers(0, 9), min_size=2, max_size=2), min_size=1, max_size=8),
    low=st.integers(0, 18),
    width=st.integers(0, 18),
)
def test_a_question_is_about_the_sum(
    tmp_path_factory: pytest.TempPathFactory, values: list[list[int]], low: int, width: int
) -> None:
    # A yes and a no are put in, so that there are always both.
    pairs = [*values, [low, 0], [0, 40]]
    path = tmp_path_factory.mktemp("sums") / "table.csv"
    frame = pl.DataFrame(pairs, schema=["june", "july"], orient="row").with_columns(
        id=pl.int_range(len(pairs)), rating=pl.lit(1), ping=pl.lit(2)
    )
    frame.write_csv(path)
    label = Label(
        name="between", kind=Kind.BINARY, description="so", columns=("june", "july"), at_least=low, at_most=low + width
    )
    dataset = read_table(path, spec(behaviours=(label,)))
    assert dataset.labels[:, 0].tolist() == [float(low <= a + b <= low + width) for a, b in pairs]
