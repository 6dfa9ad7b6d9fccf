"""Where memory runs out while a network is measured: batches go through in halves, which is told, and what cannot be halved says so."""

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from robustradar import Failed, Measured
from robustradar.store import Store

Lab = Any
NET = "menagerie/cramped"


@pytest.fixture
def network(menagerie: Any) -> Iterator[Any]:
    """The architecture, whose room a test sets."""
    _, declaration = menagerie.declared("metric")["menagerie/odd"]
    kind = sys.modules[type(declaration).__module__].Cramped
    yield kind
    kind.limit = 1000


def measured(lab: Lab, network: Any, metric: str, limit: int) -> Any:
    """The only outcome, measured with room for so many samples, of a network that was trained with room enough."""
    network.limit = 1000
    lab.run((NET,), ("vandal", "attacked:attack=menagerie/timid"))
    network.limit = limit
    network.seen.clear()
    found, executed = lab.run((NET,), (metric,))
    assert all(fit.cached for fit in executed.fits)
    (outcome,) = found.values()
    return outcome


@pytest.mark.parametrize(("limit", "size"), [(15, 8), (5, 4), (2, 2)])
def test_a_measurement_is_made_anew_in_halves_and_flagged(lab: Lab, network: Any, limit: int, size: int) -> None:
    outcome = measured(lab, network, "accuracy", limit)
    assert isinstance(outcome, Measured)
    assert outcome.flags == (f"small-batches:{size}", "selected-on-evaluation")[::-1]
    whole, _ = lab.run(("menagerie/linear",), ("accuracy",))
    assert outcome.value == whole["linear accuracy"].value
    assert network.seen[-32 // size :] == [size] * (32 // size)


def test_what_fits_is_not_flagged(lab: Lab, network: Any) -> None:
    assert measured(lab, network, "accuracy", 16).flags == ("selected-on-evaluation",)


def test_the_tries_that_failed_are_paid_for(lab: Lab, network: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = type(lab.catalog.declared("metric")["menagerie/accuracy"][1])
    measure = kind.measure

    def after_eight(self: Any, bench: Any) -> Any:
        x, _ = bench.splits["evaluation"].spread(8)
        bench.fits["model"].model(x)
        return measure(self, bench)

    monkeypatch.setattr(kind, "measure", after_eight)
    measured(lab, network, "accuracy", 8)
    (key,) = (m.key for m in lab.plan((NET,), ("accuracy",)).measurements)
    cost = Store(lab.root).cost(key)
    assert cost is not None
    assert cost.forward == 8 + 8 + 32


def test_an_attack_is_measured_in_halves_and_its_check_that_finds_no_room_is_told(lab: Lab, network: Any) -> None:
    """The attack has no chance; the check looks at all 32 samples at once."""
    outcome = measured(lab, network, "attacked", 8)
    assert outcome.flags == ("unchecked:memory", "selected-on-evaluation", "small-batches:8")
    whole, _ = lab.run(("menagerie/linear",), ("attacked",))
    assert outcome.value == pytest.approx(whole["linear attacked_loss"].value, rel=1e-5)


def test_not_even_one_sample(lab: Lab, network: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def full(_: Any, bench: Any) -> None:
        sizes.append(len(next(iter(bench.splits["evaluation"]))[0]))
        raise MemoryError

    monkeypatch.setattr(type(lab.catalog.declared("metric")["menagerie/accuracy"][1]), "measure", full)
    outcome = measured(lab, network, "accuracy", 16)
    assert sizes == [16, 8, 4, 2, 1]
    assert outcome.reason == "out of memory even for a single sample. Use a smaller network, or a device with more memory."


def test_a_metric_with_a_batch_of_its_own_is_not_tried_in_vain(lab: Lab, network: Any) -> None:
    outcome = measured(lab, network, "head", 8)
    assert isinstance(outcome, Failed)
    assert outcome.reason == "out of memory. Use a smaller batch, or a device with more memory."
    assert network.seen.count(16) == 1
    assert isinstance(measured(lab, network, "head:batch=8", 8), Measured)


def test_a_network_that_cannot_be_tried_at_all(lab: Lab, network: Any) -> None:
    outcome = measured(lab, network, "accuracy", 1)
    assert outcome.reason == "out of memory even for two samples. Use a smaller network, or a device with more memory."


def test_a_network_that_has_no_room_at_all_is_not_told_to_use_a_smaller_batch(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    _, declaration = lab.catalog.declared("architecture")["menagerie/linear"]
    monkeypatch.setattr(type(declaration), "build", full)
    found, _ = lab.run(("menagerie/linear",), ("size",))
    assert found["linear size"].reason == "out of memory even for the network alone. Use a smaller network, or a device with more memory."
