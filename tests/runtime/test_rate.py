"""Another rate of the line: agreed on, tested, lost in every way, and found again. The device in Python and in C."""

import random
import secrets
import termios
from contextlib import closing, suppress

import numpy as np
import pytest
from conftest import need
from fakes import FakePort
from rated import Rated, heard
from serial import SerialException, SerialTimeoutException
from tiny import tiny_counts, tiny_model

from lnp_edge import boards
from lnp_edge.base.errors import LinkError
from lnp_edge.firmware_gen.build import build
from lnp_edge.firmware_gen.generate import generate, write
from lnp_edge.runtime import link as link_module
from lnp_edge.runtime import rate
from lnp_edge.runtime.device import Device
from lnp_edge.runtime.emulator import Emulator
from lnp_edge.runtime.faults import FaultyPort
from lnp_edge.runtime.link import BAUD, Link
from lnp_edge.runtime.reference import Reference
from lnp_edge.spec import protocol
from lnp_edge.spec.protocol import CALL, MOST_RATES

MODEL = tiny_model()
COUNTS = tiny_counts(MODEL, 120)
HIGHEST = 921_600
READ = 30  # instructions of the loops that fetch a byte


@pytest.fixture(autouse=True)
def seeded(monkeypatch):
    """Sessions and runs have the same numbers each time: which bytes are damaged follows from them."""
    monkeypatch.setattr(secrets, "randbelow", random.Random(1).randrange)


class InC(Emulator):
    """The firmware in C on an emulated core; own_baud is what its UART is set to."""

    BAUDDIV = 0x10  # DDI 0479

    def __init__(self, image):
        super().__init__(boards.get("cortex-m4"), image)
        self.own_baud = self.spoke_at = BAUD

    def _uart_write(self, uc, offset, size, value, data):
        if offset == self.BAUDDIV:
            self.own_baud = boards.get("cortex-m4").clock_hz / value
        else:
            self.spoke_at = self.own_baud
        super()._uart_write(uc, offset, size, value, data)


def built(folder, change=lambda name, text: text):
    need("arm-none-eabi-gcc")
    write(generate(MODEL, boards.get("cortex-m4"), "net"), folder)
    for name in ("lnp_link.c", "lnp_serve.c"):
        text = (folder / name).read_text()
        (folder / name).write_text(change(name, text))
    return build(folder).image


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    return built(tmp_path_factory.mktemp("rated"))


@pytest.fixture(params=["python", "c"])
def device(request):
    """What makes a device that has just started."""
    if request.param == "python":
        return lambda: FakePort(MODEL)
    image = request.getfixturevalue("image")
    return lambda: InC(image)


def near(device):
    """The rate of a host that a device's end is near."""
    return min((BAUD, *rate.HIGHER), key=lambda baud: abs(device.own_baud - baud))


def assert_goes_on(device, counts=COUNTS):
    reference = Reference(MODEL)
    device.reset()
    theirs, ours = device.steps(counts), reference.steps(counts)
    assert theirs.digests.tolist() == ours.digests.tolist()
    assert device.state().tolist() == reference.state().tolist()


# ---- the line itself


@pytest.mark.parametrize("ratio", [1, 1.02, 1.5, 2, 2.17, 3, 4, 5.3, 7.9, 8, 8.16])
def test_a_call_is_a_byte_each_to_every_rate_that_a_line_may_have(ratio):
    assert ratio <= MOST_RATES * 1.02
    assert len(heard(CALL * 500, BAUD, BAUD * ratio)) == 500


def test_other_bytes_and_higher_rates_would_not_do():
    assert len(heard(b"\0" * 500, BAUD, BAUD / 2)) < 300
    assert len(heard(CALL * 500, BAUD, BAUD / 2.2)) < 300
    assert 0 not in heard(CALL * 9, BAUD, 8 * BAUD) and 0 in heard(CALL * 9, BAUD, 10 * BAUD)  # an end of a frame
    assert heard(bytes(range(256)), BAUD, 1.01 * BAUD) == bytes(range(256))
    assert heard(bytes(range(256)), BAUD, 1.1 * BAUD) != bytes(range(256))


def test_a_board_that_polls_is_ready_for_each_byte_before_the_next(image):
    """25 MHz / 92,160 bytes a second are 271 cycles; an instruction takes at most 3, a divided frame's end may last."""
    with closing(InC(image)) as port:
        device = Device(port, MODEL)
        with port.count("lnp_link_receive") as counted:
            device.steps(COUNTS)
    of_a_byte = sorted(counted.calls)[: len(counted.calls) - 2 * device.traffic.requests]  # two zeros a frame
    assert len(of_a_byte) > 500 and 3 * (max(of_a_byte) + READ) <= 25_000_000 / 92_160


# ---- agreed on


@pytest.mark.parametrize("baud", rate.HIGHER)
def test_both_change_and_both_are_back_at_the_end(device, baud):
    port = Rated(device())
    found = Device(port, MODEL, rates=(baud,))
    assert (port.baudrate, near(port.device)) == (baud, baud)
    assert_goes_on(found)
    assert found.traffic.rates_lost == found.traffic.sent_again == 0
    found.rate.down()
    assert (port.baudrate, near(port.device)) == (BAUD, BAUD)
    assert_goes_on(found)


def test_a_board_says_which_rate_it_will_have(image):
    """25 MHz / 27 is 925,926 Bd, 0.5 % off; 25 MHz / 25 would be 1 MBd, which is beyond eight times the first."""
    found = Device(Rated(InC(image)), MODEL, rates=(1_000_000, 900, 700_000))
    assert found.rate.told == {1_000_000: rate.NONE, 900: rate.NONE, 700_000: "used, 694444 on the board"}


def test_the_best_that_both_have_is_taken():
    port = Rated(FakePort(MODEL))
    port.device.can = lambda baud: baud if baud < 500_000 else 0
    found = Device(port, MODEL, rates=rate.HIGHER)
    assert found.rate.told == {921_600: rate.NONE, 460_800: "used, 460800 on the board"}
    assert (port.baudrate, near(port.device)) == (460_800, 460_800)


def test_a_line_that_does_not_carry_a_rate_goes_back_and_on(device):
    port = Rated(device(), most=500_000)
    found = Device(port, MODEL, rates=(HIGHEST, 460_800))
    assert found.rate.told[HIGHEST] == "the line does not carry it"
    assert (port.baudrate, near(port.device)) == (460_800, 460_800)
    assert_goes_on(found)


@pytest.mark.parametrize(("error", "told"), [
    (ValueError("Failed to set custom baud rate (921600): [Errno 22] Invalid argument"), "cannot have it"),
    (OSError(22, "Invalid argument"), "cannot have it"),
    (termios.error(22, "Invalid argument"), "cannot have it"),
    (OSError(5, "Input/output error"), "fails: [Errno 5] Input/output error"),
    (termios.error(5, "Input/output error"), "fails: [Errno 5] Input/output error"),
    (SerialException("Could not configure port: (5, 'Input/output error')"),
     "fails: Could not configure port: (5, 'Input/output error')"),
])  # fmt: skip
def test_a_port_of_this_computer_that_cannot_have_a_rate_is_told(error, told):
    """By what the system says. Unix has an error of its own for it, which pyserial lets pass."""

    class Slow(Rated):
        def __setattr__(self, name, value):
            if name == "baudrate" and value > 500_000:
                raise error
            super().__setattr__(name, value)

    port = Slow(FakePort(MODEL))
    found = Device(port, MODEL, rates=(HIGHEST,))
    assert found.rate.told == {HIGHEST: f"this computer's port {told}"}
    assert (port.baudrate, near(port.device)) == (BAUD, BAUD)
    assert_goes_on(found)


# ---- lost


@pytest.mark.parametrize("frame", [*range(2, 6), *range(-6, -1)])
def test_any_frame_of_the_agreement_may_be_lost_on_its_way(device, frame):
    """Those of the host have their number, the replies the same below 0."""
    port = Rated(device())
    port.drops = frozenset([frame])
    found = Device(port, MODEL, rates=(HIGHEST,))
    assert (port.baudrate, near(port.device)) == (HIGHEST, HIGHEST)
    assert_goes_on(found)


@pytest.mark.parametrize("at", [*range(1, 6), 8])
def test_a_board_whose_host_was_killed_at_any_moment_is_found_by_the_next(device, at):
    there = device()
    port = Rated(there)
    port.dies_at = at
    with suppress(KeyboardInterrupt):
        assert_goes_on(Device(port, MODEL, rates=(HIGHEST,)))
    assert port.writes == at
    assert near(there) == (BAUD if at <= 2 else HIGHEST)
    assert_goes_on(Device(Rated(there), MODEL))
    assert near(there) == BAUD


def test_a_call_reaches_a_board_that_was_left_at_any_rate(device):
    for baud in rate.HIGHER:
        there = device()
        Device(Rated(there), MODEL, rates=(baud,))
        assert near(there) == baud
        assert_goes_on(Device(Rated(there), MODEL))


def test_one_call_is_long_enough(device):
    """What is asked after it would bring a board to the first rate too, but only now and then before the deadline."""

    class Called(Rated):
        then = None

        def write(self, data):
            if data.startswith(CALL * 9):
                self.then = "called"
            elif self.then == "called":
                self.then = near(self.device)
            return super().write(data)

    there = device()
    Device(Rated(there), MODEL, rates=(HIGHEST,))
    port = Called(there)
    Device(port, MODEL)
    assert port.then == BAUD


def test_a_call_reaches_a_board_that_is_busy_with_the_steps_of_a_host_that_was_killed():
    """Its steps are slow, and while they run it has room for a frame: the rest of the call is lost."""

    class Busy(Rated):
        until = 0.0

        def _pass(self, data):
            super()._pass(data if self.now >= self.until else b"")

    there = FakePort(MODEL)
    Device(Rated(there), MODEL, rates=(HIGHEST,))
    port = Busy(there)
    port.until = 3.0  # s: the first call ends before
    assert_goes_on(Device(port, MODEL))
    assert near(there) == BAUD


def test_a_call_reaches_a_board_whose_firmware_has_longer_frames_than_the_hosts_model():
    there = FakePort(MODEL, max_payload=10_000)
    Device(Rated(there), MODEL, rates=(HIGHEST,))
    assert_goes_on(Device(Rated(there), MODEL))
    assert near(there) == BAUD


@pytest.mark.parametrize("damage", [0.0, 1e-3])
def test_a_storm_of_restarts_at_another_rate_changes_nothing(damage):
    there = FakePort(MODEL)
    rng = np.random.default_rng(3)
    there.restarts_before = frozenset(np.flatnonzero(rng.random(400) < 0.05).tolist()[1:])
    there.restarts_after = frozenset(np.flatnonzero(rng.random(400) < 0.05).tolist()[1:])
    found = Device(FaultyPort(Rated(there), damage, 1), MODEL, rates=(HIGHEST,))
    for _ in range(16):
        assert_goes_on(found)
    assert min(found.traffic.restarted.total(), found.traffic.rates_lost) > 2  # busy machines: not always as many
    assert near(there) == HIGHEST


def test_a_rate_that_is_lost_again_and_again_without_a_restart_is_left():
    there = FakePort(MODEL)
    port = Rated(there)
    found = Device(port, MODEL, rates=(HIGHEST,))
    for _ in range(rate.LOSSES):
        there.own_baud = BAUD
        assert_goes_on(found)
    assert (port.baudrate, near(there), found.traffic.rates_lost) == (BAUD, BAUD, rate.LOSSES)


class Unplugged(Rated):
    """The cable is pulled before some writes, and the board, which it feeds, starts anew."""

    pulled = frozenset()

    def write(self, data):
        if self.writes + 1 in self.pulled:
            self.writes += 1
            self.device.restart()
            raise OSError(5, "Input/output error")
        return super().write(data)


@pytest.mark.parametrize("again", [0, 1, 2, 3])
@pytest.mark.parametrize("at", range(2, 9))
def test_a_cable_may_be_pulled_at_any_moment_and_again_while_the_rate_is_sought(at, again):
    there = FakePort(MODEL)
    port = Unplugged(there)
    port.pulled = frozenset([at, at + again])
    found = Device(port, MODEL, reopen=lambda: None, rates=(HIGHEST,))
    assert_goes_on(found)
    assert (port.baudrate, near(there)) == (HIGHEST, HIGHEST)


@pytest.mark.parametrize(("at", "then"), [(2, 460_800), (3, 460_800), (4, BAUD), (5, 460_800)])
def test_a_port_that_is_gone_as_its_rate_is_set_comes_back(at, then):
    """pyserial says so by an OSError, and keeps the rate for when the port is opened again."""

    class Gone(Rated):
        changes = 0

        def __setattr__(self, name, value):
            super().__setattr__(name, value)
            if name == "baudrate":
                super().__setattr__("changes", self.changes + 1)
                if self.changes == at:
                    self.device.restart()
                    raise OSError(5, "Could not configure port")

    port = Gone(FakePort(MODEL), most=500_000)
    found = Device(port, MODEL, reopen=lambda: None, rates=(HIGHEST, 460_800))
    assert (port.baudrate, near(port.device)) == (then, then)
    assert_goes_on(found)


# ---- without the protections


def never_calls(self, most):
    pass


CONTROLS = {
    "the call": (Link, "call", never_calls, lambda: killed(5)),
    "the test of a rate": (rate, "TRIES", 0, lambda: carried()),
    "silence at a rate": (link_module, "QUIET", 1e-9, lambda: restarted()),
    "the way back after the test": (rate.Rate, "_first", lambda self: None, lambda: carried()),
}


def killed(at):
    test_a_board_whose_host_was_killed_at_any_moment_is_found_by_the_next(lambda: FakePort(MODEL), at)


def carried():
    test_a_line_that_does_not_carry_a_rate_goes_back_and_on(lambda: FakePort(MODEL))


def restarted():
    test_a_storm_of_restarts_at_another_rate_changes_nothing(0.0)


@pytest.mark.parametrize("name", CONTROLS)
def test_without_a_protection_of_the_host_its_test_fails(monkeypatch, name):
    thing, attribute, instead, test = CONTROLS[name]
    test()
    monkeypatch.setattr(thing, attribute, instead)
    with pytest.raises((AssertionError, LinkError)):
        test()


IN_C = {
    "the way back of the board": (
        "link->strange > LNP_STRANGE_BYTES",
        "link->strange > 0x7FFFFFFFu",
        lambda there: test_a_board_whose_host_was_killed_at_any_moment_is_found_by_the_next(there, 5),
    ),
    "a count that begins at each sound frame": (
        "    link->strange = 0;\n    if (!is_request(frame)) {",
        "    if (!is_request(frame)) {",
        lambda there: many(there),
    ),
    "the change after the reply": (
        "    send_frame(link->reply, (uint8_t)(type | LNP_WIRE_REPLY), link->sid, seq, reply_length);\n"
        "    set_rate(link, link->next_baud);\n",
        "    set_rate(link, link->next_baud);\n"
        "    send_frame(link->reply, (uint8_t)(type | LNP_WIRE_REPLY), link->sid, seq, reply_length);\n",
        lambda there: first_time(there),
    ),
    "the highest rate": (
        "baud <= LNP_WIRE_MOST_RATES * LNP_BAUD",
        "baud != 0",
        lambda there: too_high(there),
    ),
}


def many(there):
    """More bytes in one run than LOST_BYTES."""
    port = Rated(there())
    found = Device(port, MODEL, rates=(HIGHEST,))
    for _ in range(20):
        assert_goes_on(found)
    assert found.traffic.rates_lost == 0 and near(port.device) == HIGHEST


def first_time(there):
    found = Device(Rated(there()), MODEL, rates=(HIGHEST,))
    assert found.traffic.sent_again == 0


def too_high(there):
    assert Device(Rated(there()), MODEL, rates=(1_000_000,)).rate.told == {1_000_000: rate.NONE}


@pytest.mark.slow
@pytest.mark.parametrize("name", IN_C)
def test_without_a_protection_of_the_board_its_test_fails(image, tmp_path, name):
    old, new, test = IN_C[name]
    test(lambda: InC(image))

    def change(file, text):
        return text.replace(old, new)

    changed = built(tmp_path, change)
    assert changed.read_bytes() != image.read_bytes()
    with pytest.raises((AssertionError, LinkError)):
        test(lambda: InC(changed))


def test_a_late_request_for_a_rate_moves_a_board_that_is_then_found(device):
    """The line held a copy back: the board changes alone."""
    there = device()
    port = Rated(there)
    found = Device(port, MODEL)
    late = protocol.encode(protocol.Frame(protocol.REQUESTS["rate"].type, found.sid, 77, HIGHEST.to_bytes(4, "little")))
    port.write(late)
    assert near(there) == HIGHEST
    with suppress(LinkError):
        assert_goes_on(found)
    assert_goes_on(Device(Rated(there), MODEL))


def test_a_slow_line_takes_a_call():
    """A port gives up a write that lasts longer than 5 s."""

    class Slow(FakePort):
        def write(self, data):
            if len(data) * 10 / 2400 > 5:
                raise SerialTimeoutException("Write timeout")

    with pytest.raises(LinkError, match="no bytes from PORT"):
        Device(Slow(MODEL), MODEL, "PORT")
