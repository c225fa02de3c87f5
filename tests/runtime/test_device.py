"""The link from the host's side: whatever the line does, right results or an error that says why."""

import io
import itertools
import os
import queue
import random
import secrets
import struct
import termios
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import serial
from fakes import NAMES, Babbler, FakePort
from tiny import MODELS, tiny_counts, tiny_model

from lnp_edge import boards
from lnp_edge.base import console
from lnp_edge.base.errors import BoardError, LinkError
from lnp_edge.runtime import link as link_module
from lnp_edge.runtime.device import Device
from lnp_edge.runtime.faults import FaultyPort
from lnp_edge.runtime.ports import PtyProcess, open_board, open_serial, owner_group
from lnp_edge.runtime.reference import Reference
from lnp_edge.runtime.verify import stimulus, verify
from lnp_edge.spec import protocol
from lnp_edge.spec.layout import tables
from lnp_edge.spec.protocol import REPLIES, Frame

MODEL = tiny_model()
COUNTS = tiny_counts(MODEL, 230)
PATIENT = 120.0  # s; never reached unless the link is broken
SHORT = 0.3  # s; always reached


def assert_same_run(device, counts=COUNTS):
    reference = Reference(device.model)
    device.reset()
    theirs, ours = device.steps(counts), reference.steps(counts)
    assert theirs.digests.tolist() == ours.digests.tolist()
    assert theirs.y.tolist() == ours.y.tolist()
    assert device.state().tolist() == reference.state().tolist()


# ---- a line that works


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("max_payload", [128, 512, 700, 65535])
def test_a_device_gives_digests_readout_and_state_over_many_frames(kind, max_payload):
    model = MODELS[kind]()
    device = Device(FakePort(model, max_payload=max_payload), model)
    assert_same_run(device)
    for number, table in enumerate(tables(model).values()):
        assert device.read_table(number, table.nbytes) == table.tobytes()
    assert device.greeting.board == "fake"


@pytest.mark.parametrize(
    ("board", "shown"),
    [
        (b"\x1b[31mred\x07", r"\x1b[31mred\x07"),
        (b"[/foo] [bold]", "[/foo] [bold]"),
        (b"caf\xc3\xa9\n", r"caf\xc3\xa9\x0a"),
        (b"\xff" * 24, r"\xff" * 24),
    ],
)
def test_a_boards_name_does_nothing_to_a_terminal(monkeypatch, board, shown):
    """Control characters are escaped where the name enters; what rich takes for markup stands in a bar as it is."""
    told = Device(FakePort(MODEL, greeting={"board": board}), MODEL).greeting.board
    assert told == shown
    drawn = io.StringIO()
    drawn.isatty = lambda: True
    monkeypatch.setattr(console, "err", console._Console(file=drawn, force_terminal=True, width=200))
    monkeypatch.setattr("sys.stderr", drawn)
    with console.bars() as progress:
        progress.add_task(f"verify on {told}", total=1, info="[/bar]")
    assert f"verify on {shown}" in drawn.getvalue() and "[/bar]" in drawn.getvalue()


def test_a_greeting_says_how_many_neurons_spike_and_all_tables_and_state_words():
    """Of the stack: 33 + 40 + 20 neurons. 3 tables of the encoder, 14 of matrices, 16 of neurons."""
    model = MODELS["stack"]()
    found = Device(FakePort(model), model).greeting
    assert (found.n, found.n_in, found.n_out, found.n_tables) == (93, 3, 4, 33)
    assert found.state_words == 2 * 93 + (2 + 2 + 1) + 4


def test_frames_are_filled_with_steps():
    port = FakePort(MODEL)
    device = Device(port, MODEL)
    assert device.steps_per_frame() == 83  # of 6 bytes each in 502
    device.steps(COUNTS)
    assert port.requests == ["hello"] + ["steps"] * 6  # 8, 16, 32, 64, 83, 27: an unknown line is tried
    device.steps(COUNTS)
    assert port.requests[7:] == ["steps"] * 3


def test_without_digests_only_the_last_is_sent_and_a_frame_holds_what_a_request_holds():
    narrow = tiny_model(n_in=1)
    counts, port = tiny_counts(narrow, 700), FakePort(narrow)
    device, reference = Device(port, narrow), Reference(narrow)
    assert (device.steps_per_frame(), device.steps_per_frame(digests=False)) == (120, 251)
    found = device.steps(counts, digests=False)
    assert port.requests == ["hello"] + ["steps"] * 7  # 8, 16, 32, 64, 128, 251, 201
    expected = reference.steps(counts)
    assert found.digests.tolist() == expected.digests[-1:].tolist()
    assert found.y.tolist() == expected.y.tolist()
    device.steps(counts)
    assert port.requests[8:] == ["steps"] * 6  # of 120


def test_a_run_goes_on_where_it_was():
    device, reference = Device(FakePort(MODEL), MODEL), Reference(MODEL)
    assert device.steps(COUNTS[:10]).digests.tolist() == reference.steps(COUNTS[:10]).digests.tolist()
    assert device.steps(COUNTS[10:25]).digests.tolist() == reference.steps(COUNTS[10:25]).digests.tolist()
    assert device.t == 25


def test_a_new_session_takes_up_the_step_number_of_the_device():
    port = FakePort(MODEL)
    Device(port, MODEL).steps(COUNTS[:10])
    second = Device(port, MODEL)
    assert second.t == 10
    second.steps(COUNTS[10:20])


# ---- a line that damages


@pytest.mark.parametrize("rate", [1e-4, 1e-3, 3e-3, 1e-2])
@pytest.mark.parametrize("seed", range(3))
def test_a_line_that_damages_changes_nothing(seed, rate):
    line = FaultyPort(FakePort(MODEL), rate, seed)
    device = Device(line, MODEL)
    for _ in range(3):
        assert_same_run(device)
    if rate > 1e-4:
        assert line.count.total() > 3
        assert min(device.traffic.sent_again, device.traffic.damaged_here, device.traffic.damaged_there) > 0


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize(("board", "rate"), [("host", 1e-3), ("host", 1e-2), ("cortex-m4", 1e-3)])
def test_the_real_firmware_behind_such_a_line_gives_the_references_digests(firmware, board, rate, kind):
    with closing(open_board(boards.get(board), firmware(board, kind=kind))) as port:
        line = FaultyPort(port, rate, seed=1)
        device = Device(line, MODELS[kind](), deadline=PATIENT)
        for _ in range(3 if rate < 1e-2 else 1):
            assert_same_run(device)
        assert line.count.total() > 5


def test_what_is_damaged_is_sent_again_at_once_yet_once_a_round_trip():
    """Each request is damaged on its first way. The clock shows that no time-out passed."""

    class Damaged(FakePort):
        before = b""

        def write(self, data):
            first, self.before = data != self.before, data
            super().write(data[:5] + b"\x55" + data[6:] if first else data)

    port = Damaged(MODEL)
    device = Device(port, MODEL)
    assert_same_run(device)
    traffic = device.traffic
    assert port.now < traffic.requests * (link_module.AFTER_DAMAGE + 2 * link_module.POLL)
    assert traffic.sent_again == traffic.damaged_there == traffic.requests
    assert (traffic.damaged_here, traffic.late, traffic.recovered) == (0, 0, 0)


def test_a_frame_holds_fewer_steps_on_a_line_that_damages_and_more_again_when_it_is_good():
    line = FaultyPort(FakePort(MODEL), 1e-2, 1)
    device = Device(line, MODEL)
    device.steps(COUNTS)
    assert device._size.steps < 20
    device._link.port = line.port
    for _ in range(20):
        device.steps(COUNTS)
    assert device._size.steps == device.steps_per_frame()


def test_a_line_that_gets_bad_under_a_long_frame_is_got_through():
    """The long frame was run, its reply never passes: it is run again in shorter ones."""
    port = FakePort(MODEL)
    device = Device(port, MODEL)
    device.reset()
    device.steps(COUNTS)
    reference = Reference(MODEL)
    reference.steps(COUNTS)
    whole = port.read

    def read(size=1):
        found = whole(size)
        return found if len(found) < 200 else found[:-9] + b"\x55" + found[-8:]

    port.read = read
    assert device.steps(COUNTS).digests.tolist() == reference.steps(COUNTS).digests.tolist()
    assert device.traffic.recovered > 0 and device.traffic.replayed >= len(COUNTS)
    assert device._size.steps < 83


def test_a_request_that_is_overtaken_and_runs_late_is_asked_for_its_reply():
    """The third request of steps is held back until a smaller one follows, which is refused: nothing is replayed."""

    class Overtaken(FakePort):
        held, arrived = None, False

        def answer(self, frame):
            if NAMES[frame.type] != "steps" or self.requests.count("steps") < 2 or self.arrived:
                return super().answer(frame)
            self.held = self.held or frame
            if frame.seq == self.held.seq:
                return b""
            self.arrived = True
            super().answer(self.held)
            return super().answer(frame)

    port = Overtaken(MODEL)
    device = Device(port, MODEL, deadline=PATIENT)
    assert_same_run(device)
    assert port.arrived and device.traffic.replayed == 0


def test_a_deadline_begins_anew_with_each_sign_of_life():
    """For three deadlines the device only says that it receives damage; then the line is good. Six are too many."""

    class Recovering(FakePort):
        good_at = 0.0

        def write(self, data):
            super().write(data if self.now > self.good_at else b"\0\x55\0")

    port = Recovering(MODEL)
    device = Device(port, MODEL, deadline=0.5)
    port.good_at = port.now + 1.5
    assert_same_run(device)
    port.good_at = port.now + 0.5 * link_module.PATIENCE + 1.0
    with pytest.raises(LinkError, match="requests arrived damaged, and answered none"):
        device.steps(COUNTS)


@pytest.mark.parametrize(("babbles", "why"), [(False, "no bytes from PORT"), (True, "says that .* arrived damaged")])
def test_a_line_that_lets_nothing_through_is_given_up(babbles, why):
    class Dead(FakePort):
        dead = False

        def write(self, data):
            if not self.dead:
                super().write(data)
            elif babbles:
                super().write(b"\0\x55\0")

    port = Dead(MODEL)
    device = Device(port, MODEL, "PORT", 1.0)
    port.dead = True
    with pytest.raises(LinkError, match=why):
        device.steps(COUNTS)
    assert port.now < 10


def test_a_late_and_a_doubled_reply_are_ignored():
    """Every reply comes twice, the second time in front of the next one."""

    class Late(FakePort):
        before = b""

        def answer(self, frame):
            now = super().answer(frame)
            found, self.before = self.before + now + now, now
            return found

    port = Late(MODEL)
    assert_same_run(Device(port, MODEL))


def test_a_request_that_was_answered_too_late_is_not_done_twice():
    """The first reply to each request is lost: the device must answer the repeated one from memory."""

    class Deaf(FakePort):
        seen = ()

        def answer(self, frame):
            found = super().answer(frame)
            key = (frame.sid, frame.seq)
            lost, self.seen = key != self.seen, key
            return b"" if lost else found

    port = Deaf(MODEL)
    device = Device(port, MODEL, deadline=PATIENT)
    assert_same_run(device)
    assert [r for r in port.requests if r == "reset"] == ["reset"]


def test_a_boot_banner_before_the_reply_is_passed_over():
    port = FakePort(MODEL)
    port._out += protocol.encode(Frame(0x81, 0, 0, port.hello(b"")))
    port._out += b"U-Boot 2024.01\r\n\0\0"
    assert_same_run(Device(port, MODEL))


# ---- a line that does not work


def refusal(port, deadline=PATIENT, model=MODEL):
    with pytest.raises(LinkError) as e:
        Device(port, model, "PORT", deadline)
    return e.value


def test_a_clock_that_stands_still_is_refused():
    """The cycles that a board counts are divided by it."""
    assert refusal(FakePort(MODEL, greeting={"clock_hz": 0})).what == "PORT reports a clock of 0 Hz"


def test_silence_is_said():
    e = refusal(Babbler(lambda size: b""), SHORT)
    assert e.what == f"no bytes from PORT in {SHORT} s"
    assert "power, cable" in e.try_next


@pytest.mark.parametrize("error", [serial.SerialTimeoutException("Write timeout"), queue.Full()])  # the second: loop://
def test_a_port_that_takes_no_bytes_is_said_at_once(error):
    """A pty that nobody reads, or flow control: it is not opened again, as one that went away is."""
    port = FakePort(MODEL)
    port.write_timeout = 5

    def write(data):
        raise error

    port.write = write
    with pytest.raises(LinkError) as e:
        Device(port, MODEL, "PORT", reopen=lambda: pytest.fail("opened again"))
    assert e.value.what == "PORT takes no bytes for 5 s"


def test_an_echo_is_no_device():
    class Echo(FakePort):
        def write(self, data):
            self._out += data

    assert refusal(Echo(MODEL), SHORT).what == "PORT echoes what it receives"


def test_a_request_on_a_line_that_damages_fails_after_so_many_tries_however_long_the_deadline_is():
    port, tries = Babbler(lambda size: b"\0no frame\0"), []
    port.write = tries.append
    with pytest.raises(LinkError, match="damaged frames from PORT"):
        link_module.Link(port, "PORT", 1000.0).ask("hello")
    assert len(tries) == link_module.MOST_TRIES


@pytest.mark.parametrize("seed", [1, 2])
def test_garbage_is_no_device(seed):
    assert "damaged frames from PORT" in refusal(Babbler(random.Random(seed).randbytes), SHORT).what


def test_zeros_for_ever_are_no_device():
    assert "no frame among them" in refusal(Babbler(bytes), SHORT).what


def test_a_flood_of_zeros_does_not_outlast_the_deadline():
    class Flood(Babbler):
        in_waiting = 2**30

    assert "no frame among them" in refusal(Flood(lambda size: bytes(min(size, 2**22))), SHORT).what


def test_a_stream_without_an_end_takes_bounded_memory():
    kept = []

    def source(size):
        kept.append(len(link._buffer))
        return b"\x55" * 2000

    port = Babbler(source)
    link = link_module.Link(port, "PORT", 0.5)
    with pytest.raises(LinkError, match="no frame among them"):
        link.ask("hello")
    assert max(kept) <= link_module.NOISE_LIMIT + 2000
    assert sum(b < a for a, b in itertools.pairwise(kept)) >= 1  # it was dropped at least once


def test_the_firmware_of_another_model_is_refused_with_both_fingerprints():
    other = tiny_model(2)
    e = refusal(FakePort(other))
    assert e.what == f"PORT runs model {other.fingerprint:08x}, not {MODEL.fingerprint:08x}"
    assert "lnp flash" in e.try_next


def test_the_real_firmware_of_another_model_is_refused(firmware):
    with closing(open_board(boards.get("host"), firmware("host"))) as port:
        assert f"runs model {MODEL.fingerprint:08x}, not" in refusal(port, model=tiny_model(2)).what


@pytest.mark.parametrize(
    ("greeting", "what"),
    [
        ({"wire_crc": 1}, "uses another version of the link"),
        ({"n": 41}, "reports sizes"),
        ({"n_in": 4}, "reports sizes"),
        ({"n_out": 1}, "reports sizes"),
        ({"state_words": 0}, "reports sizes"),
        ({"n_tables": 3}, "reports sizes"),
        ({"max_payload": 0}, "frames of 0 bytes"),
        ({"max_payload": 127}, "frames of 127 bytes"),
    ],
)
def test_a_greeting_that_is_not_the_models_is_refused(greeting, what):
    assert what in refusal(FakePort(MODEL, greeting=greeting)).what


def test_a_protocol_of_another_version_is_said(monkeypatch):
    class Next(FakePort):
        def answer(self, frame):
            monkeypatch.setattr(protocol, "VERSION", 2)
            found = super().answer(frame)
            monkeypatch.setattr(protocol, "VERSION", 1)
            return found

        def nak(self, frame, why):
            return b""

    assert "protocol version 2, this is 1" in refusal(Next(MODEL), SHORT).what


@pytest.mark.parametrize(
    ("request_name", "change", "what"),
    [
        ("reset", lambda p: p + b"\0", "answered reset with type 0x82 and 13 bytes"),
        ("reset", lambda p: with_u32(p, 0, 99), "answers for run 99, not"),
        ("reset", lambda p: with_u32(p, 1, 99), "answers for step 99, not 0"),
        ("steps", lambda p: p[:-4], "answered steps with type 0x83"),
        ("steps", lambda p: with_u32(p, 0, 99), "answers for run 99, not"),
        ("steps", lambda p: with_u32(p, 1, 99), "answers for step 99, not 5"),
        ("steps", lambda p: with_u32(p, 3, 99), "answers for input 99, not"),
        ("steps", lambda p: "step", r"refuses steps \(step\) at step 5"),
        ("steps", lambda p: "session", "has lost the session"),
        ("state", lambda p: with_u32(p, 0, 99), "answers for run 99, not"),
        ("state", lambda p: with_u32(p, 1, 99), "answers for step 99, not 5"),
        ("state", lambda p: with_u32(p, 2, 99), "answers for word 99, not 0"),
        ("read_table", lambda p: with_u32(p, 0, 99), "answers for table 99, not 3"),
        ("read_table", lambda p: p[:2] + with_u32(p[2:], 0, 99), "answers for offset 99, not 0"),
    ],
)
def test_a_reply_that_is_not_the_requests_is_refused(request_name, change, what):
    device = Device(FakePort(MODEL, lambda name, p: change(p) if name == request_name else p), MODEL)
    with pytest.raises(LinkError, match=what):
        device.reset()
        device.steps(COUNTS[:5])
        device.state()
        device.read_table(3, 8)


def with_u32(payload, number, value):
    """The payload with another value as its number-th u32."""
    return payload[: 4 * number] + struct.pack("<I", value) + payload[4 * number + 4 :]


def test_a_refusal_of_impossible_length_is_refused():
    class Short(FakePort):
        def nak(self, frame, why):
            return protocol.encode(Frame(REPLIES["nak"].type, frame.sid, frame.seq, b"\1"))

    device = Device(Short(MODEL, lambda name, p: "type" if name == "reset" else p), MODEL)
    with pytest.raises(LinkError, match="answered reset with type 0x7f and 1 bytes"):
        device.reset()


def test_a_device_that_goes_silent_and_one_that_is_unplugged_are_said(firmware):
    port = open_board(boards.get("host"), firmware("host"))
    with closing(port):
        device = Device(port, MODEL, "PORT", 20)
        device.reset()
        port._process.kill()
        port._process.wait()
        with pytest.raises(LinkError, match=r"(lost|cannot write to|no bytes from) PORT") as e:
            device.steps(COUNTS)
        assert "its program has ended" in e.value.try_next and "cable" not in e.value.try_next


# ---- ports


def why(port):
    with pytest.raises(LinkError) as e:
        open_serial(port, 115200).close()
    assert port[:20] in e.value.what and e.value.try_next
    return e.value


def test_a_port_that_is_absent_is_said(tmp_path):
    e = why(str(tmp_path / "ttyUSB9"))
    assert "there is no such port" in e.what and "lnp doctor" in e.try_next


@pytest.mark.parametrize(("opens_ms", "looked"), [(0, 0), (10_000, 4)])
def test_a_board_that_restarts_as_its_port_is_opened_greets_before_anything_is_sent(monkeypatch, opens_ms, looked):
    """Nothing is read either: the greeting is the link's."""

    class Restarting:
        looks = 0

        def open(self):
            assert self.looks == 0

        @property
        def in_waiting(self):
            self.looks += 1
            return self.looks >= 4

    monkeypatch.setattr(serial, "serial_for_url", lambda *args, **kwargs: Restarting())
    board = replace(boards.get("arduino-mega"), opens_ms=opens_ms)
    assert open_board(board, None, "/dev/ttyACM0").looks == looked


def test_a_port_in_use_is_said():
    master, slave = os.openpty()
    try:
        with closing(open_serial(os.ttyname(slave), 115200)):
            assert "another program uses it" in why(os.ttyname(slave)).what
    finally:
        os.close(master)
        os.close(slave)


def test_a_port_without_permission_is_said(monkeypatch, tmp_path):
    path = tmp_path / "port"
    path.touch()
    if os.geteuid() == 0:  # root may open anything: have the system call say what it says to others
        real = os.open

        def refuse(name, *args, **kwargs):
            if name == str(path):
                raise PermissionError(13, "Permission denied")
            return real(name, *args, **kwargs)

        monkeypatch.setattr(os, "open", refuse)
    else:
        path.chmod(0)
    e = why(str(path))
    assert "permission denied" in e.what and f"usermod -aG {owner_group(path)}" in e.try_next


@pytest.mark.parametrize("port", [
    "nosuch://x", "socket://127.0.0.1:1", "socket://", "", "/", "/dev/null", "/dev/zero", "loop://?x=y",
    "loop://?logging=loud", "alt:///dev/null?class=io", "hwgrep://(",
])  # fmt: skip
def test_what_is_no_port_is_refused(port):
    why(port)


def test_a_mistake_of_ours_is_no_wrong_port(monkeypatch):
    """It is told as one, with where it happened."""

    def broken(*args, **kwargs):
        raise RuntimeError("a mistake")

    monkeypatch.setattr(serial, "serial_for_url", broken)
    with pytest.raises(RuntimeError):
        open_serial("/dev/ttyACM0", 115200)


def test_a_port_that_goes_away_as_it_is_opened_is_said(monkeypatch):
    """Unix says so by an error that is no OSError, and pyserial lets it pass."""

    def gone(handle, queue):
        raise termios.error(5, "Input/output error")

    master, slave = os.openpty()
    monkeypatch.setattr(termios, "tcflush", gone)
    try:
        assert "Input/output error" in why(os.ttyname(slave)).what
    finally:
        os.close(master)
        os.close(slave)


def test_a_file_is_no_port(tmp_path):
    (tmp_path / "a.csv").write_text("1,2,3")
    why(str(tmp_path / "a.csv"))


def test_an_impossible_baud_rate_is_refused():
    with pytest.raises(LinkError):
        open_serial("loop://", -5)


def test_a_real_board_without_a_port_is_asked_for():
    with pytest.raises(LinkError, match="--port") as e:
        open_board(boards.get("nucleo-f401re"), None)
    assert e.value.what == "nucleo-f401re is a real board"


def test_a_program_that_cannot_start_is_said(tmp_path):
    (tmp_path / "no-program").write_text("\x7fELF")
    with pytest.raises(BoardError, match="cannot start"):
        PtyProcess([str(tmp_path / "no-program")])


def test_a_program_is_open_once_it_has_greeted():
    """QEMU drops what is sent to a UART that is not yet enabled."""
    with closing(PtyProcess(["sh", "-c", "sleep 0.5; printf up; exec cat"])) as port:
        assert port.read(2) == b"up"


def test_the_port_says_how_long_a_request_may_take():
    port = Babbler(lambda size: b"")
    port.deadline = SHORT
    assert refusal(port, None).what == f"no bytes from PORT in {SHORT} s"


def test_the_firmware_ends_with_its_port(firmware):
    port = open_board(boards.get("host"), firmware("host"))
    assert isinstance(port, serial.Serial)
    process = port._process
    port.close()
    assert process.poll() is not None


def test_steps_of_no_rows_step_nothing():
    port = FakePort(MODEL)
    found = Device(port, MODEL).steps(np.zeros((0, MODEL.n_in), np.int16))
    assert (len(found.digests), port.requests) == (0, ["hello", "state"])  # the state holds y


@pytest.mark.parametrize("sizes", [{"n": 300, "n_in": 64, "n_out": 6}, {"n_out": 60}])
def test_long_requests_and_long_replies_pass_a_line_of_one_fault_in_100_bytes(sizes, monkeypatch):
    """One reply in 50 arrives. A step that was run is not run again for want of its reply: no other is shorter."""
    monkeypatch.setattr(secrets, "randbelow", random.Random(1).randrange)
    model = tiny_model(3, **sizes)
    port = FakePort(model, max_payload=1024)
    device = Device(FaultyPort(port, 1e-2, 1), model)
    assert verify(model, device, stimulus(model, 400, 1)).ok
    assert device.traffic.replayed == 0 and device.traffic.sent_again > 500


def test_firmware_in_qemu_answers_the_first_request(firmware):
    """A busy machine may miss it, but not each time; QEMU that was not woken answers after about a second."""
    image, again = firmware("mps2-an386"), []
    for _ in range(5):
        with closing(open_board(boards.get("mps2-an386"), image)) as port:
            again.append(Device(port, MODEL).traffic.sent_again)
        if not again[-1]:
            return
    pytest.fail(f"requests were sent again: {again}")


def test_a_silent_emulator_is_not_told_of_cables():
    class Silent(Babbler):
        emulated, in_waiting = True, 0

    told = refusal(Silent(lambda size: b""), SHORT)
    assert told.what.startswith("the program of ") and "cable" not in told.try_next
