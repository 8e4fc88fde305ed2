"""The features of `wowah` are those of 1 July: nothing that was written down later changes one of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars
import pytest

from fusion.telemetry.read import read
from fusion.telemetry.spec import load_any_spec

FIRST_HALF = ("Jan", "Feb", "Mar", "Apr", "May", "Jun")
SECOND_HALF = ("Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
WHOLE_YEAR = ("level", "playcount", "zone", "numOfJoinedGuild", "playduration")


def _table(seed: int, later: int) -> polars.DataFrame:
    """Avatars whose first half depends on one seed, and all that is known later on another."""
    first, after = np.random.default_rng(seed), np.random.default_rng(later)
    avatars = 200
    return polars.DataFrame(
        {
            "char": np.arange(avatars),
            "start_level": first.integers(1, 70, avatars),
            **{month: first.poisson(3.0, avatars).astype(float) for month in FIRST_HALF},
            **{month: after.poisson(0.25, avatars).astype(float) for month in SECOND_HALF},
            **{column: after.integers(1, 90, avatars) for column in WHOLE_YEAR},
        }
    )


def test_what_is_known_later_changes_labels_and_no_feature(tmp_path: Path) -> None:
    found = []
    for later in (1, 2):
        path = tmp_path / f"{later}.parquet"
        _table(0, later).write_parquet(path)
        found.append(read(path, load_any_spec("wowah")))
    one, other = found
    np.testing.assert_array_equal(one.features, other.features)
    np.testing.assert_array_equal(one.split, other.split)
    assert not np.array_equal(one.labels, other.labels)


@pytest.mark.data
def test_the_fold_of_the_counts_is_none_of_the_whole_year(real_log: Callable[[str], Path]) -> None:
    table = polars.read_parquet(real_log("wowah")).filter(polars.len().over("char") == 1)
    months = table.select((*FIRST_HALF, *SECOND_HALF)).to_numpy().astype(np.int64)
    fold = months.sum(axis=1) / table["playcount"].to_numpy()
    long = ((months > 0).sum(axis=1) >= 4) & (fold > 1.0)
    # One fold of all months would divide each of them, and be a whole number.
    divisor = np.gcd.reduce(months, axis=1)
    one_fold = np.isclose(fold, np.rint(fold)) & (divisor % np.maximum(np.rint(fold), 1).astype(np.int64) == 0)
    assert long.sum() > 5_000
    assert one_fold[long].mean() < 0.12
