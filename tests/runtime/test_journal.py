"""A verification that is ended at any moment and goes on from its file: what is found is what an unbroken one finds."""

import json
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from fakes import FakePort
from tiny import tiny_counts, tiny_model

from lnp_edge.base.errors import ConfigError, LinkError
from lnp_edge.base.files import read_result, write_result
from lnp_edge.runtime import journal as journal_module
from lnp_edge.runtime.device import Device
from lnp_edge.runtime.faults import FaultyPort
from lnp_edge.runtime.journal import EVERY, WORK, Journal
from lnp_edge.runtime.verify import BATCH, verify

MODEL = tiny_model()
RUNS = [tiny_counts(MODEL, length, seed=length) for length in (3 * BATCH, 70, 2 * BATCH + 30)]
STEPS = sum(map(len, RUNS))


class Killed(BaseException):
    """Ends a host without a word: nothing catches it."""


class Dying(FakePort):
    """The host is killed before request number `left` + 1."""

    left = 10**9

    def write(self, data):
        self.left -= 1
        if self.left < 0:
            raise Killed
        super().write(data)


@pytest.fixture(autouse=True)
def always_written(monkeypatch):
    """At each batch, not once a second; and a kill writes nothing more."""
    monkeypatch.setattr(journal_module, "EVERY", 0.0)
    monkeypatch.setattr(journal_module, "WORK", 0.0)
    monkeypatch.setattr(Journal, "__exit__", lambda *_: None)


def go_on(port, path, model=MODEL, runs=RUNS, key="a", faults=None):
    """Verify what is left; the device and the verdict."""
    device = Device(FaultyPort(port, *faults) if faults else port, model)
    with Journal(path, key, device.traffic) as journal:
        return device, verify(model, device, runs, part=journal.part("stimulus"))


UNBROKEN = go_on(FakePort(MODEL), None)[1]


def test_a_file_that_can_no_longer_be_written_is_told_with_the_option_that_names_it(tmp_path):
    path = tmp_path / "there" / "x"
    path.parent.mkdir()
    with Journal(path, "a") as journal:
        path.unlink()
        path.parent.rmdir()
        with pytest.raises(ConfigError) as e:
            journal.save(True)
    assert e.value.try_next == "make room, or choose another --resume"


@pytest.mark.parametrize("loses", [True, False], ids=["the device loses all", "the device stays as it is"])
@pytest.mark.parametrize("every", [1, 3, 8])
def test_a_host_that_is_killed_again_and_again_finds_what_an_unbroken_one_does(tmp_path, loses, every):
    port, path, seen, kills = Dying(MODEL), tmp_path / "j", [], 0
    for more in range(400):
        port.left = 3 + every + more // 4
        try:
            device, verdict = go_on(port, path)
            break
        except Killed:
            kills += 1
            seen.append(sum(p["steps"] + p["at"] for p in read_result(path, bool)["parts"].values()))
            if loses:
                port.restart()
    assert verdict == UNBROKEN and verdict.ok
    assert kills >= 2 and seen == sorted(seen) and seen[-1] <= STEPS
    assert device.traffic.resumed == kills


def test_what_has_ended_is_not_run_again_and_what_has_not_is_run_from_where_the_device_is(tmp_path):
    port = Dying(MODEL)
    port.left = 12
    with pytest.raises(Killed):
        go_on(port, tmp_path / "j")
    port.left, before = 10**9, port.net.t
    assert before > 0
    device, verdict = go_on(port, tmp_path / "j")
    assert verdict == UNBROKEN
    assert (device.traffic.replayed, device.traffic.recovered) == (0, 0)


@pytest.mark.parametrize("seed", range(4))
def test_kills_restarts_and_damage_together_change_nothing(tmp_path, seed):
    rng, port = np.random.default_rng(seed), Dying(MODEL)
    for number in range(400):
        port.left = int(rng.integers(4, 16))
        if rng.random() < 0.3:
            port.restart()
        with suppress(Killed):
            assert go_on(port, tmp_path / "j", faults=(1e-3, number))[1] == UNBROKEN
            break
    else:
        pytest.fail("it does not come to an end")
    assert number >= 2


def test_a_difference_that_was_seen_is_not_forgotten_by_a_kill(tmp_path, monkeypatch):
    """The device was wrong once, and the host is killed while it looks for the place: it does not come back."""

    class Once(Dying):
        def steps(self, payload):
            if self.net.t == BATCH and not self.wrong:
                self.wrong, self.net.digest = True, 1
            return super().steps(payload)

    port = Once(MODEL)
    port.wrong = False
    monkeypatch.setattr("lnp_edge.runtime.verify._locate", lambda *_: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):
        go_on(port, tmp_path / "j")
    assert port.wrong
    monkeypatch.undo()
    _, verdict = go_on(port, tmp_path / "j")
    assert verdict.transient and not verdict.ok and "transient" in verdict.lines()[0]


def left_at(tmp_path, last=12):
    port = Dying(MODEL)
    port.left = last
    with pytest.raises(Killed):
        go_on(port, tmp_path / "j")
    port.left = 10**9
    return port, tmp_path / "j", json.loads((tmp_path / "j").read_text())


def test_a_device_whose_replay_gives_another_digest_is_an_error(tmp_path):
    _, path, _ = left_at(tmp_path)
    wrong = FakePort(MODEL)
    wrong.net.steps(RUNS[0][:1])
    wrong.net.reset = lambda: None
    with pytest.raises(LinkError, match=r"gave digest|not 0"):
        go_on(wrong, path)


def test_the_file_of_another_verification_is_refused_with_both_in_words(tmp_path):
    port, path, _ = left_at(tmp_path)
    with pytest.raises(
        ConfigError,
        match="is of another verification: a\n  choose another --resume, or delete it to begin anew; this one is b",
    ):
        go_on(port, path, key="b")


def test_no_flipped_bit_and_no_cut_is_taken_for_a_journal(tmp_path):
    _, path, _ = left_at(tmp_path)
    data = path.read_bytes()
    rng = np.random.default_rng(1)
    for bit in rng.integers(0, 8 * len(data), 200).tolist():
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            Journal(path, "a")
        except ConfigError:
            continue
        pytest.fail(f"bit {bit} is not noticed")
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        with pytest.raises(ConfigError, match="cannot read"):
            Journal(path, "a")


WRONG = {
    "a part that is none": lambda found: found["parts"].update(stimulus=[]),
    "a part without steps": lambda found: found["parts"]["stimulus"].pop("steps"),
    "another field": lambda found: found["parts"]["stimulus"].update(more=1),
    "steps that are none": lambda found: found["parts"]["stimulus"].update(steps=-1),
    "a float": lambda found: found["parts"]["stimulus"].update(at=1.0),
    "true for a number": lambda found: found["parts"]["stimulus"].update(at=True),
    "a class without a digest": lambda found: found["parts"]["stimulus"]["classes"].append(1),
    "a class that is a text": lambda found: found["parts"]["stimulus"].update(classes=["1"], digests=[1], steps=1),
    "runs without steps": lambda found: found["parts"]["stimulus"].update(classes=[1], digests=[1], steps=0),
    "steps without runs": lambda found: found["parts"]["stimulus"].update(steps=9),
    "a difference without steps": lambda found: found["parts"]["stimulus"].update(at=0, differs=True, timed=0),
    "no line": lambda found: found.pop("link"),
    "a line of texts": lambda found: found.update(link={"requests": "1"}),
    "no words": lambda found: found.update(verification=1),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_file_with_a_sound_crc_and_another_structure_is_refused(tmp_path, name):
    port, path, found = left_at(tmp_path)
    del found["crc32"]
    WRONG[name](found)
    write_result(path, found)
    with pytest.raises(ConfigError, match="not a result of lnp-edge"):
        go_on(port, path)


@pytest.mark.parametrize(("field", "value", "said"), [
    ("at", 3 * BATCH + 1, "the journal is at step 601 of a run of 600"),
    ("digest", 7, "digest 00000007 after 400 steps, which is not theirs"),
])  # fmt: skip
def test_a_file_that_names_what_cannot_be_is_refused(tmp_path, field, value, said):
    port, path, found = left_at(tmp_path)
    part = found["parts"]["stimulus"]
    assert part["at"] == 2 * BATCH
    del found["crc32"]
    part[field] = value
    write_result(path, found)
    with pytest.raises(ConfigError, match=said):
        go_on(port, path)


@pytest.mark.parametrize("change", [
    {"steps": 10**15}, {"longest": 1}, {"classes": 4 * [0], "digests": 4 * [0]}
])  # fmt: skip
def test_runs_that_have_ended_and_cannot_have_are_refused(tmp_path, change):
    port, path, found = left_at(tmp_path, 15)
    part = found["parts"]["stimulus"]
    assert part["classes"]
    del found["crc32"]
    part |= change
    write_result(path, found)
    with pytest.raises(ConfigError, match=r"the journal has \d+ runs with \d+ steps, .*, which are not theirs"):
        go_on(port, path)


def test_it_is_written_about_once_a_second_and_less_often_on_a_slow_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(journal_module, "EVERY", EVERY)
    monkeypatch.setattr(journal_module, "WORK", WORK)
    now, writes, takes = [0.0], [], [0.0]

    def write(path, table, hint):
        writes.append(now[0])
        now[0] += takes[0]

    monkeypatch.setattr(journal_module, "write_result", write)
    journal = Journal(tmp_path / "j", clock=lambda: now[0])
    for _ in range(100):
        now[0] += 0.1
        journal.part("a").agrees(1, 1, 0, 0)
    assert 9 <= len(writes) <= 11
    takes[0] = 0.5
    del writes[:]
    for _ in range(400):
        now[0] += 0.1
        journal.part("a").agrees(1, 1, 0, 0)
    assert 2 <= len(writes) <= 5


def test_without_a_path_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(journal_module, "write_result", None)
    assert go_on(FakePort(MODEL), None)[1] == replace(UNBROKEN)
