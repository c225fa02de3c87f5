"""Each protection of the host's side is taken away once: the test that is named beside it must then fail.

So no protection is there for nothing, and no test passes whatever the link does. Those of the device are in
tests/firmware_gen/test_c_link_controls.py.
"""

import pytest
import test_device
import test_restart
from fakes import FakePort
from tiny import tiny_model

from lnp_edge.base.errors import LinkError
from lnp_edge.runtime import faults
from lnp_edge.runtime.device import Device
from lnp_edge.runtime.faults import FaultyPort
from lnp_edge.runtime.link import Link
from lnp_edge.spec import protocol
from lnp_edge.spec.protocol import HEADER, REPLY, Frame

FAILS = (AssertionError, LinkError, ValueError, pytest.fail.Exception)


def without_crc(stuffed):
    raw = protocol.cobs_decode(stuffed)
    if len(raw) < HEADER.size:
        raise protocol.FrameError("too short")
    _, kind, sid, seq, _ = HEADER.unpack_from(raw)
    return Frame(kind, sid, seq, raw[HEADER.size : -protocol.CRC_BYTES])


def without_replay(self, after, journal):
    self._begin(after)


def replay_that_trusts(self, after, journal):
    journal.counts[:] = b""
    self._begin(after)
    self.t = 0


def a_storm():
    test_restart.test_a_storm_of_restarts_before_and_after_requests_changes_nothing(0, 1e-3)


def a_late_reply():
    test_device.test_a_late_and_a_doubled_reply_are_ignored()


def a_wrong_answer():
    test_device.test_a_reply_that_is_not_the_requests_is_refused(
        "steps", lambda payload: test_device.with_u32(payload, 3, 99), "answers for input 99, not"
    )


def damage():
    test_device.test_a_line_that_damages_changes_nothing(0, 3e-3)


# What is taken away: the object, its attribute, what stands there instead; and the test that fails.
PROTECTIONS = {
    "the CRC of a reply": (protocol, "decode", without_crc, damage),
    "a reply's session and number": (Link, "_answers", lambda self, frame, asked: frame.type >= REPLY, a_late_reply),
    "what a reply answers for": (Device, "_expect", lambda *_: None, a_wrong_answer),
    "refusals of damaged requests": (
        Link,
        "_is_damage_there",
        lambda self, frame: False,
        test_device.test_what_is_damaged_is_sent_again_at_once_yet_once_a_round_trip,
    ),
    "replay": (Device, "_replay", without_replay, a_storm),
    "digests of a replay": (Device, "_replay", replay_that_trusts, test_restart.test_a_replay_that_differs_is_an_error),
    "runs of other programs": (
        Device,
        "_foreign",
        lambda self, told: False,
        test_restart.test_a_device_that_another_program_took_over_is_left_to_it,
    ),
}


@pytest.mark.parametrize("name", PROTECTIONS)
def test_without_a_protection_its_test_fails(monkeypatch, name):
    thing, attribute, instead, test = PROTECTIONS[name]
    test()
    monkeypatch.setattr(thing, attribute, instead)
    with pytest.raises(FAILS):
        test()


@pytest.mark.parametrize(("kinds", "shows"), [({"flip": 1}, False), (faults.KINDS, True)])
def test_only_frames_that_come_late_show_that_the_number_of_a_reply_is_checked(monkeypatch, kinds, shows):
    """The faults are held to a control too: without those that hold frames back, a protection would not be tested."""
    monkeypatch.setattr(Link, "_answers", PROTECTIONS["a reply's session and number"][2])
    monkeypatch.setattr(faults, "KINDS", kinds)
    wrong = 0
    for seed in range(8):
        try:
            device = Device(FaultyPort(FakePort(tiny_model()), 3e-3, seed), tiny_model())
            for _ in range(5):
                test_device.assert_same_run(device)
        except FAILS:
            wrong += 1
    assert (wrong > 0) == shows
