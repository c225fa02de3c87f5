"""A device that restarts, is unplugged or taken over in the middle of a run: the same results, or an error."""

import os
import subprocess
import termios
import tty
from contextlib import closing

import numpy as np
import pytest
from fakes import FakePort
from tiny import MODELS, tiny_counts, tiny_model

from lnp_edge import boards
from lnp_edge.base.errors import LinkError
from lnp_edge.runtime import device as device_module
from lnp_edge.runtime.device import Device
from lnp_edge.runtime.faults import FaultyPort
from lnp_edge.runtime.ports import ASKED_EVERY, COMES_BACK, open_again, open_board, open_serial
from lnp_edge.runtime.reference import Reference
from lnp_edge.runtime.verify import stimulus, verify
from lnp_edge.stages import devices

MODEL = tiny_model()
COUNTS = tiny_counts(MODEL, 230)


def at_work(port, **more):
    """A device in the middle of a run, and the reference that runs along."""
    device, reference = Device(port, MODEL, "PORT", **more), Reference(MODEL)
    device.reset()
    assert_goes_on(device, reference)
    return device, reference


def assert_goes_on(device, reference, counts=COUNTS):
    theirs, ours = device.steps(counts), reference.steps(counts)
    assert theirs.digests.tolist() == ours.digests.tolist()
    assert theirs.y.tolist() == ours.y.tolist()
    assert device.state().tolist() == reference.state().tolist()


def random_numbers(seed, most, share):
    rng = np.random.default_rng([seed, most])
    return frozenset(np.flatnonzero(rng.random(most) < share).tolist())


# ---- restarts


def test_a_device_that_restarts_is_brought_back_by_replay():
    port = FakePort(MODEL)
    device, reference = at_work(port)
    port.restart()
    assert_goes_on(device, reference)
    assert (device.traffic.recovered, device.traffic.replayed) == (1, len(COUNTS))


@pytest.mark.parametrize("rate", [0.0, 1e-3])
@pytest.mark.parametrize("seed", range(4))
def test_a_storm_of_restarts_before_and_after_requests_changes_nothing(seed, rate):
    """A request in 14 finds the device restarted, and one in 14 is run and then lost with the state."""
    port = FakePort(MODEL)
    device = Device(FaultyPort(port, rate, seed), MODEL)
    port.restarts_before, port.restarts_after = (random_numbers(10 * seed + k, 400, 0.07) for k in (0, 1))
    reports = [verify(MODEL, device, stimulus(MODEL, 1500, seed)) for _ in range(2)]
    assert all(report.ok for report in reports)
    assert device.traffic.recovered >= 10
    assert device.traffic.replayed > 100


@pytest.mark.parametrize("seed", [0, 2, 4])
def test_restarts_that_a_bad_line_hides_are_no_refusals(seed):
    """The line eats the refusals of a restarted device: that it is in another run is then seen in its greeting."""
    port = FakePort(MODEL)
    device = Device(FaultyPort(port, 3e-3, seed), MODEL)
    port.restarts_before, port.restarts_after = (random_numbers(10 * seed + k, 1000, 0.1) for k in (0, 1))
    assert verify(MODEL, device, stimulus(MODEL, 1500, seed)).ok
    assert device.traffic.recovered > 50  # about 100; how many requests a storm takes depends on the clock


@pytest.mark.parametrize("kind", MODELS)
def test_real_firmware_that_restarts_again_and_again_is_verified(firmware, kind):
    model = MODELS[kind]()

    class Restarting:
        """The program is killed and started anew instead of what is sent."""

        deadline, timeout, writes = 60.0, 0.01, 0

        def __init__(self):
            self.port = open_board(boards.get("host"), firmware("host", kind=kind))

        @property
        def in_waiting(self):
            return self.port.in_waiting

        def write(self, data):
            self.writes += 1
            if self.writes % 17 == 0:
                self.port.close()
                self.__init__()
            else:
                self.port.write(data)

        def read(self, size=1):
            return self.port.read(size)

        def close(self):
            self.port.close()

    with closing(Restarting()) as port:
        device = Device(FaultyPort(port, 3e-4, 1), model)
        assert verify(model, device, stimulus(model, 1500, seed=1)).ok
        assert device.traffic.recovered >= 2


def test_a_device_that_restarts_for_ever_is_given_up():
    port = FakePort(MODEL)
    device, _ = at_work(port)
    port.restarts_after = frozenset(range(10**6))
    with pytest.raises(LinkError, match="has lost the session: it restarted"):
        device.steps(COUNTS)


def test_a_session_that_is_lost_alone_is_opened_again_without_replay():
    port = FakePort(MODEL)
    device, reference = at_work(port)
    port.sid = 0
    assert_goes_on(device, reference)
    assert (device.traffic.recovered, device.traffic.replayed) == (1, 0)


def test_a_replay_that_differs_is_an_error():
    port = FakePort(MODEL)
    device, _ = at_work(port)
    port.net = Reference(tiny_model(2))
    port.restart()
    with pytest.raises(LinkError, match="PORT has restarted, and the same 230 steps gave digest"):
        device.steps(COUNTS)


def test_a_device_that_another_program_took_over_is_left_to_it():
    port = FakePort(MODEL)
    device, _ = at_work(port)
    other = Device(port, MODEL)
    other.reset()
    other.steps(COUNTS[:5])
    with pytest.raises(LinkError, match="another program has taken over PORT"):
        device.steps(COUNTS)
    other.steps(COUNTS[5:10])


def test_a_run_whose_inputs_are_not_known_cannot_be_replayed(monkeypatch):
    port = FakePort(MODEL)
    at_work(port)
    late = Device(port, MODEL)  # at step 230 of a run that it did not begin
    late.steps(COUNTS[:5])
    port.restart()
    with pytest.raises(LinkError, match="has lost the session: it restarted"):
        late.steps(COUNTS[:5])
    monkeypatch.setattr(device_module, "JOURNAL", 6 * len(COUNTS) - 1)
    long, _ = at_work(port)
    port.restart()
    with pytest.raises(LinkError, match="has lost the session: it restarted"):
        long.steps(COUNTS[:5])
    long.reset()
    assert_goes_on(long, Reference(MODEL), COUNTS[:5])


def test_a_reset_that_comes_late_is_not_run_again():
    """A copy of the first reset arrives again after each request, and those of other runs too."""

    class Copying(FakePort):
        resets = ()

        def write(self, data):
            super().write(data)
            if len(self.requests) and self.requests[-1] == "reset":
                self.resets += (data,)
            for late in self.resets:
                super().write(late)

    port = Copying(MODEL)
    for _ in range(3):
        device, reference = at_work(port)
        assert_goes_on(device, reference)
        assert (device.traffic.recovered, device.traffic.replayed) == (0, 0)


# ---- a port that goes away


class Unplugged(FakePort):
    """Gone from the moment that `away` is set, in which it counts the tries to open it, until it has been opened."""

    away, opens, error = 0, 0, OSError(2, "no such port")

    def open(self):
        self.opens += 1
        if self.opens < self.away:
            raise self.error
        self.away = 0
        self.restart()

    def read(self, size=1):
        if self.away:
            raise OSError(5, "Input/output error")
        return super().read(size)

    def write(self, data):
        if self.away:
            raise OSError(5, "Input/output error")
        return super().write(data)


@pytest.mark.parametrize("error", [Unplugged.error, termios.error(5, "Input/output error")])  # one that is no OSError
def test_a_device_that_was_unplugged_goes_on_when_it_is_back(error):
    port, slept = Unplugged(MODEL), []
    port.error = error
    device, reference = at_work(port, reopen=lambda: open_again(port, sleep=slept.append))
    port.away = 4
    assert_goes_on(device, reference)
    assert (port.opens, len(slept)) == (4, 3)
    assert device.traffic.replayed == len(COUNTS)


@pytest.mark.parametrize("after", range(1, 9))
def test_a_line_that_is_cut_while_a_run_is_replayed_leaves_no_step_out(after):
    """The device has restarted; so many requests later the line is gone for a moment, and the device is not."""

    class Cut(FakePort):
        left = -1

        def open(self):
            pass

        def write(self, data):
            if self.left == 0:
                self.left = -1
                raise OSError(5, "Input/output error")
            self.left -= 1
            return super().write(data)

    port = Cut(MODEL)
    device, reference = at_work(port, reopen=lambda: open_again(port))
    port.restart()
    port.left = after
    assert_goes_on(device, reference)
    assert port.left < 0 and device.traffic.recovered >= 1


@pytest.mark.parametrize("lost", [True, False])
def test_a_reset_is_not_taken_for_done_because_the_device_is_at_step_0(lost):
    """It is at step 0 of a run that began with a state that was loaded, and the session is lost."""
    port = FakePort(MODEL)
    device, reference = at_work(port)
    device.t = port.net.t = 0
    if lost:
        port.sid = 0
    device.reset()
    reference.reset()
    assert port.requests[-1] == "reset"
    assert_goes_on(device, reference)


def test_a_port_that_does_not_come_back_is_said():
    port, slept = Unplugged(MODEL), []
    device, _ = at_work(port, reopen=lambda: open_again(port, sleep=slept.append))
    port.away = 10**9
    with pytest.raises(LinkError, match=r"the port went away for 60 s: .*no such port"):
        device.steps(COUNTS)
    assert sum(slept) == pytest.approx(COMES_BACK, abs=ASKED_EVERY)  # sums of a tenth are not exact


def test_a_board_that_restarts_as_its_port_is_opened_again_greets_before_anything_is_sent(monkeypatch):
    """Its boot loader would take what comes before, as when the port was opened first."""

    class Restarting(Unplugged):
        silent = 0

        def open(self):
            super().open()
            self.silent = 3

        @property
        def in_waiting(self):
            self.silent -= self.silent > 0
            return 0 if self.silent else max(1, super().in_waiting)

        def write(self, data):
            assert not self.silent
            return super().write(data)

    port = Restarting(MODEL)
    monkeypatch.setattr(devices, "open_board", lambda *given: port)
    with devices.device(MODEL, "arduino-mega", "PORT") as device:
        device.reset()
        port.away = 1
        assert_goes_on(device, Reference(MODEL))
    assert port.opens == 1


def test_a_line_that_is_cut_while_the_device_greets_is_opened_again():
    port = Unplugged(MODEL)
    port.away = 2
    device = Device(port, MODEL, "PORT", reopen=lambda: open_again(port, sleep=lambda s: None))
    device.reset()
    assert_goes_on(device, Reference(MODEL))
    port.away = 2
    with pytest.raises(LinkError, match=r"cannot write to PORT: .*Input/output error"):
        Device(port, MODEL, "PORT")


def test_a_port_that_cannot_be_opened_again_is_said():
    port = Unplugged(MODEL)
    device, _ = at_work(port)
    port.away = 1
    with pytest.raises(LinkError, match=r"cannot write to PORT: .*Input/output error"):
        device.steps(COUNTS)


def test_a_serial_port_that_is_pulled_out_is_opened_again_under_its_name(firmware, tmp_path):
    """Real firmware behind a real pty, which ends and comes back as another one behind the same name."""
    place, running = tmp_path / "tty", []

    def plug_in():
        master, slave = os.openpty()
        tty.setraw(slave)
        place.unlink(missing_ok=True)
        place.symlink_to(os.ttyname(slave))
        running.append(subprocess.Popen([firmware("host")], stdin=master, stdout=master, start_new_session=True))
        os.close(master)
        return slave  # open, so that the pty lives until the host has opened it

    slave = plug_in()
    try:
        with closing(open_serial(str(place), 115200)) as port:
            os.close(slave)
            device, reference = at_work(port, reopen=lambda: open_again(port))
            running[0].kill()
            running[0].wait()
            slave = plug_in()
            assert_goes_on(device, reference)
            os.close(slave)
        assert (device.traffic.recovered, device.traffic.replayed) == (1, len(COUNTS))
    finally:
        for process in running:
            process.kill()
            process.wait()
