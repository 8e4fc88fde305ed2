"""Cards that studios write: what is misspelt is told with what was meant."""

from __future__ import annotations

import numpy as np
import pytest

from fusion import yaml_file
from fusion.errors import FusionError
from fusion.teachers.import_card import ImportCard, Scale
from inference.contract.behaviours import DEFAULT_BEHAVIOURS

CARD = """
features: [sessions_7d, tenure_days]
behaviours:
  - {name: churn_7d, kind: probability, calibration: {temperature: 2, bias: 0.5}, output: p, column: 1}
  - {name: sessions_7d, kind: log1p}
missing: -1
input: x
"""


def _read(text: str) -> ImportCard:
    return yaml_file.parse(text, ImportCard, where="card.yaml")


def test_a_whole_card_is_read() -> None:
    card = _read(CARD)
    assert card.features == ("sessions_7d", "tenure_days")
    assert card.missing == -1
    churn, sessions = card.behaviours
    assert churn.kind is Scale.PROBABILITY
    assert churn.calibration is not None
    assert (churn.output, churn.column, churn.calibration.temperature, churn.calibration.bias) == ("p", 1, 2, 0.5)
    assert (sessions.output, sessions.column, sessions.calibration) == (None, None, None)


@pytest.mark.parametrize("spelt", ["", "missing: nan", "missing: .nan", "missing: null"])
def test_unknown_values_are_passed_on_as_nan(spelt: str) -> None:
    assert _read(CARD.replace("missing: -1", spelt)).missing is None


@pytest.mark.parametrize(
    ("written", "instead", "message"),
    [
        ("features:", "feature:", "unknown key 'feature'; did you mean 'features'"),
        ("kind: log1p", "kid: log1p", r"behaviours.1.kid: got the unknown key 'kid'; did you mean 'kind'"),
        ("temperature: 2", "temprature: 2", "unknown key 'temprature'; did you mean 'temperature'"),
        ("temperature: 2", "temperature: 0", "greater than 0"),
        ("kind: log1p", "kind: logg", "'probability', 'logit', 'value' or 'log1p'"),
        ("kind: log1p", "kind: log1p, calibration: {bias: 1}", "calibration is for probabilities and logits"),
        ("name: sessions_7d", "name: churn_7d", "behaviours named twice: churn_7d"),
        ("tenure_days", "sessions_7d", "features named twice: sessions_7d"),
        ("[sessions_7d, tenure_days]", "[]", "at least 1 item"),
        ("missing: -1", "missing: .inf", "nan or a number"),
        ("column: 1", "column: -1", "greater than or equal to 0"),
        ("[sessions_7d, tenure_days]", "[Sessions, tenure_days]", "features.0: got 'Sessions'"),
    ],
)
def test_what_cannot_be_meant_is_told(written: str, instead: str, message: str) -> None:
    with pytest.raises(FusionError, match=message):
        _read(CARD.replace(written, instead, 1))


def test_kinds_say_whether_they_are_links_already() -> None:
    churn, sessions = _read(CARD).behaviours
    # The logit of 1/2 is 0: what is left is the bias.
    assert churn.links(np.array([0.5]), DEFAULT_BEHAVIOURS["churn_7d"])[0] == pytest.approx(0.5)
    assert sessions.links(np.array([2.0]), DEFAULT_BEHAVIOURS["sessions_7d"])[0] == 2.0
