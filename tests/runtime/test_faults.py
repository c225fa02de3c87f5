"""The line that damages: seeded, each kind of fault as often as it should be, and nothing else."""

from collections import Counter

import numpy as np
import pytest

from lnp_edge.runtime import faults
from lnp_edge.runtime.faults import BURST, DELAY, HOLD, KINDS, Damage, FaultyPort

DATA = np.random.default_rng(1).bytes(4000)


class Loop:
    """Gives back what was written, one chunk a read."""

    timeout = None

    def __init__(self):
        self.chunks = []

    @property
    def in_waiting(self):
        return len(self.chunks[0]) if self.chunks else 0

    def write(self, data):
        self.chunks.append(data)

    def read(self, size=1):
        return self.chunks.pop(0) if self.chunks else b""

    def close(self):
        pass


def only(monkeypatch, kind):
    monkeypatch.setattr(faults, "KINDS", {kind: 1})


def one_way(rate, seed, data=DATA, chunk=100):
    """The chunks that arrive, and the count of faults."""
    count = Counter()
    damage = Damage(rate, [seed], count)
    found = []
    for at in range(0, len(data), chunk):
        found.append(damage.through(data[at : at + chunk]))
        found.append(damage.waited())
    return [chunk for chunk in found if chunk], count


def test_without_faults_a_line_is_as_it_was():
    port = FaultyPort(Loop(), 0.0, 1)
    for at in range(0, len(DATA), 70):
        port.write(DATA[at : at + 70])
    assert b"".join(port.read(70) for _ in range(58)) == DATA
    assert port.count.total() == 0


def test_the_same_seed_gives_the_same_faults_and_each_way_has_its_own():
    first, again, other = (one_way(0.01, seed) for seed in (1, 1, 2))
    assert first == again and first != other
    port = FaultyPort(Loop(), 0.01, 1)
    assert port._there._drawn != port._here._drawn


def test_each_kind_of_fault_is_as_often_as_it_should_be():
    """200,000 bytes at 1e-2: 2,000 faults, and of each kind within four standard deviations of its share."""
    _, count = one_way(0.01, 1, DATA * 50)
    assert abs(count.total() - 2000) < 4 * 2000**0.5
    for kind, share in KINDS.items():
        expected = 2000 * share / 20
        assert abs(count[kind] - expected) < 4 * expected**0.5, kind


@pytest.mark.parametrize(("kind", "more"), [("drop", -1), ("double", 1), ("insert", 1), ("flip", 0)])
def test_a_fault_of_a_byte_changes_that_byte(monkeypatch, kind, more):
    only(monkeypatch, kind)
    chunks, count = one_way(0.01, 1)
    found = b"".join(chunks)
    assert count[kind] == count.total() > 20
    assert len(found) == len(DATA) + more * count[kind]
    if kind == "flip":
        changed = [a ^ b for a, b in zip(found, DATA, strict=True) if a != b]
        assert len(changed) == count[kind] and all(x & (x - 1) == 0 for x in changed)


def test_a_burst_overwrites_at_most_so_many_bytes(monkeypatch):
    only(monkeypatch, "burst")
    chunks, count = one_way(0.002, 3)
    found = b"".join(chunks)
    changed = sum(a != b for a, b in zip(found, DATA, strict=True))
    assert count["burst"] < changed <= BURST * count["burst"]


def test_what_is_delayed_keeps_its_order_and_what_is_held_back_loses_it(monkeypatch):
    only(monkeypatch, "delay")
    chunks, count = one_way(0.001, 1)
    assert count["delay"] > 2 and DATA.startswith(b"".join(chunks)) and len(b"".join(chunks)) > len(DATA) - 100 * DELAY
    only(monkeypatch, "hold")
    chunks, count = one_way(0.001, 1)
    assert count["hold"] > 2
    arrived, sent = b"".join(chunks), [DATA[at : at + 100] for at in range(0, len(DATA), 100)]
    places = [arrived.find(chunk) for chunk in sent if chunk in arrived]
    assert len(places) >= len(sent) - HOLD and places != sorted(places)
