from __future__ import annotations

from inference.contract.features import FEATURE_NAMES
from inference.repository.ledger import KEPT_RETIRED, Ledger
from tests.support.artifacts import BEHAVIOURS, build_graph, make_manifest

MANIFEST = make_manifest(build_graph(len(FEATURE_NAMES), BEHAVIOURS), FEATURE_NAMES, BEHAVIOURS)


def open_version(ledger: Ledger, version: str, name: str = "net") -> None:
    counters = ledger.metrics_of(MANIFEST.model_copy(update={"name": name, "version": version}))
    counters.degraded.add()


def kept(ledger: Ledger) -> list[tuple[str, str]]:
    return [(model, version) for model, version, *_ in ledger.counted()]


def test_a_version_that_comes_back_goes_on_counting() -> None:
    ledger = Ledger()
    for served in ("1", "2", "1"):
        open_version(ledger, served)
        ledger.retire({("net", served)})
    assert {version: metrics.degraded.value for _, version, _, metrics in ledger.counted()} == {"1": 2, "2": 1}


def test_of_those_that_are_served_no_more_the_last_few_stay() -> None:
    ledger = Ledger()
    open_version(ledger, "0", name="other")
    for version in range(20):
        open_version(ledger, str(version))
        ledger.retire({("net", str(version)), ("other", "0")})
    assert kept(ledger)[-1] == ("net", "19")
    assert set(kept(ledger)) == {("other", "0"), *(("net", str(v)) for v in range(19 - KEPT_RETIRED, 20))}


def test_a_version_that_was_served_for_long_is_not_the_first_to_go() -> None:
    ledger = Ledger()
    open_version(ledger, "long")
    for trial in range(20):
        open_version(ledger, str(trial))
        ledger.retire({("net", "long"), ("net", str(trial))})
    open_version(ledger, "next")
    ledger.retire({("net", "next")})
    assert ("net", "long") in kept(ledger)


def test_another_network_of_the_same_version_counts_anew() -> None:
    ledger = Ledger()
    open_version(ledger, "1")
    fewer = MANIFEST.model_copy(update={"name": "net", "version": "1", "behaviours": MANIFEST.behaviours[:2]})
    assert ledger.metrics_of(fewer).degraded.value == 0
    assert [len(behaviours) for _, _, behaviours, _ in ledger.counted()] == [2]
