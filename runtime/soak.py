"""A verification under all that can go wrong at once: damaged bytes, restarts of the device, a cut line, a killed host.

The host is a process of its own: it verifies through a pty and keeps a journal. This process is the line between it
and the device: it damages bytes, starts the device anew, cuts the line and puts it back, and kills the host with
kill -9, each at steps drawn before and a few exchanges later. At the end it compares what the host has found with what
it computes itself: the digest and the class of every run, in order. So a step that was wrong, lost or run twice shows.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import select
import signal
import struct
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np

from lnp_edge.base import stopping
from lnp_edge.base.errors import LinkError
from lnp_edge.base.files import read_result
from lnp_edge.runtime.device import Device
from lnp_edge.runtime.faults import FaultyPort
from lnp_edge.runtime.journal import Journal, Part
from lnp_edge.runtime.link import Port
from lnp_edge.runtime.ports import PtyProcess, open_again, open_serial
from lnp_edge.runtime.reference import Reference
from lnp_edge.runtime.verify import stimulus, verify
from lnp_edge.spec.model import QuantizedModel

# Steps from one to the next, on average.
EVERY = {"restart": 5_000, "cut": 10_000, "kill": 10_000}
LATER = 20  # exchanges at most from the step that was drawn to the event
AWAY = 0.3  # s at most that the line is cut
DEADLINE = 60.0  # s of silence until the host gives up: only a busy machine keeps it waiting
HOPELESS = 3  # times that the host gives up without a new step
LAST = 0.97  # share of the steps until the last of them
CHUNK, WAIT = 4096, 0.002  # bytes; s
COUNT = struct.Struct("<q")
GAVE_UP, BUG = 3, 70  # what a host exits with: after an error, and after one of ours


@dataclass
class Outcome:
    """What a soak found. wrong : runs with another digest or class; lost, doubled : steps

    gave_up : times that the host ended with an error and went on from its journal
    error : the first of these; of a run that is wrong, what the host found
    """

    steps: int = 0
    runs: int = 0
    wrong: int = 0
    lost: int = 0
    doubled: int = 0
    gave_up: int = 0
    seconds: float = 0.0
    error: str = ""
    events: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    link: Counter[str] = field(default_factory=Counter)

    @property
    def ok(self) -> bool:
        return not (self.wrong or self.lost or self.doubled)

    def add(self, other: Outcome) -> None:
        for one in fields(Outcome):
            if one.name == "error":
                self.error = self.error or other.error
            else:
                setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))

    def as_dict(self) -> dict:
        found = {one.name: getattr(self, one.name) for one in fields(Outcome)}
        counts = {name: dict(sorted(found[name].items())) for name in ("events", "faults", "link")}
        return {"ok": self.ok, "below": 3 / self.steps if self.steps and self.ok else None} | found | counts


class Cable:
    """A pty behind a name, which ends and comes back as another one."""

    def __init__(self, place: Path):
        self.place, self.ends = place, (-1, -1)
        self.plug()

    def plug(self) -> None:
        import tty

        master, slave = os.openpty()
        tty.setraw(slave)
        os.set_blocking(master, False)
        fresh = self.place.with_suffix(".new")
        fresh.symlink_to(os.ttyname(slave))
        fresh.replace(self.place)
        self.ends = master, slave  # the second is kept, so that the line lives while nobody has opened it

    def cut(self) -> None:
        self.place.unlink(missing_ok=True)
        for end in self.ends:
            os.close(end)

    def read(self) -> bytes:
        with contextlib.suppress(BlockingIOError):
            return os.read(self.ends[0], CHUNK)
        return b""

    def write(self, data: bytes) -> None:
        """What does not fit is lost, as on a real line whose reader is gone."""
        with contextlib.suppress(BlockingIOError):
            os.write(self.ends[0], data)


def soak(
    model: QuantizedModel, start: Callable[[], Port], folder: Path, steps: int, seed: int, rate: float,
    progress: Callable[[int], None] = lambda steps: None,
) -> Outcome:  # fmt: skip
    """Verify so many steps.

    start : starts the device and opens its port;  folder : for the journal;  rate : of faults, per byte
    progress : is called with the steps that agree so far
    """
    begin, found = time.monotonic(), Outcome()
    journal = folder / "journal.json"
    journal.unlink(missing_ok=True)
    rng = np.random.default_rng([seed, 1])
    drawn = {kind: rng.integers(0, int(LAST * steps), steps // every) for kind, every in EVERY.items()}
    due = sorted((int(at), kind) for kind, places in drawn.items() for at in places)
    done = mmap.mmap(-1, COUNT.size)  # steps that agree, as the host says
    line, cable = FaultyPort(_started(start), rate, seed), Cable(folder / "line")
    host, reached, left, hopeless, code = 0, 0, 0, 0, GAVE_UP
    try:
        while code == GAVE_UP:
            host = host or _host(model, cable, journal, steps, seed, done)
            before, reached = reached, COUNT.unpack(done[: COUNT.size])[0]
            if reached != before:
                progress(reached)
            if due and not left and reached >= due[0][0]:
                left = 1 + int(rng.integers(LATER))
            if _pass_on(line, cable) and left:
                left -= 1
                if not left:
                    kind = due.pop(0)[1]
                    found.events[kind] += 1
                    host = _happen(kind, line, cable, host, start, rng)
            gone, status = os.waitpid(host, os.WNOHANG) if host else (0, 0)
            if not gone:
                continue
            host, code = 0, os.waitstatus_to_exitcode(status)
            if code == GAVE_UP:
                found.gave_up += 1
                found.error = found.error or (folder / "error").read_text("utf-8")
                hopeless = hopeless + 1 if reached == found.steps else 1
                found.steps = reached
                if hopeless > HOPELESS:
                    what, _, hint = found.error.partition("\n")
                    raise LinkError(what, hint.strip())
    finally:
        if host:
            os.kill(host, signal.SIGKILL)
            os.waitpid(host, 0)
        line.close()
        cable.cut()
    table = read_result(journal, bool) if code in (0, 1) else None
    if table is None:
        raise LinkError(f"the host of the soak ended with {code}", "report this with the model file")
    if code == 1:
        found.error = (folder / "error").read_text("utf-8")
    _judge(found, model, steps, seed, Part(**table["parts"]["stimulus"]), code)
    found.link.update(table["link"])
    found.faults.update(line.count)
    found.seconds = time.monotonic() - begin
    return found


def _started(start: Callable[[], Port]) -> Port:
    port = start()
    port.timeout = 0
    return port


def _happen(
    kind: str, line: FaultyPort, cable: Cable, host: int, start: Callable[[], Port], rng: np.random.Generator
) -> int:
    """One event. The host's process, 0 if it is no more."""
    if kind == "restart":
        line.port.close()
        line.port = _started(start)
    elif kind == "cut":
        cable.cut()
        time.sleep(AWAY * rng.random())
        cable.plug()
    else:
        os.kill(host, signal.SIGKILL)
        os.waitpid(host, 0)
        return 0
    return host


def _pass_on(line: FaultyPort, cable: Cable) -> bool:
    """What has come from both sides to the other, damaged; whether anything has."""
    waits = [cable.ends[0]]
    if isinstance(line.port, PtyProcess):
        waits.append(line.port.fd)
    select.select(waits, [], [], WAIT)
    there = cable.read()
    if there:
        line.write(there)
    here = line.read(CHUNK)
    if here:
        cable.write(here)
    return bool(there or here)


def _host(model: QuantizedModel, cable: Cable, journal: Path, steps: int, seed: int, done: mmap.mmap) -> int:
    """A process that verifies, from where its journal says."""
    if child := os.fork():
        return child
    code = BUG
    try:
        stopping.end_with_parent()
        for end in cable.ends:
            os.close(end)
        code = _verify(model, cable.place, journal, steps, seed, done)
    except LinkError as e:
        (journal.parent / "error").write_text(str(e), "utf-8")
        code = GAVE_UP
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(code)


def _verify(model: QuantizedModel, place: Path, path: Path, steps: int, seed: int, done: mmap.mmap) -> int:
    reached = 0

    def progress(more: int) -> None:
        nonlocal reached
        reached += more
        done[: COUNT.size] = COUNT.pack(reached)

    port = _opened(str(place))
    device = Device(port, model, "the line", DEADLINE, lambda: open_again(port))
    with Journal(path, f"soak of {model.fingerprint:08x}, {steps} steps, seed {seed}", device.traffic) as journal:
        verdict = verify(model, device, stimulus(model, steps, seed), progress, journal.part("stimulus"))
        journal.save(True)
    if not verdict.ok:
        (path.parent / "error").write_text("\n".join(verdict.lines()), "utf-8")
    return 0 if verdict.ok else 1


def _opened(place: str):
    """The line, which may be cut just now."""
    for _ in range(100):
        with contextlib.suppress(LinkError):
            return open_serial(place, 115200)
        time.sleep(0.1)
    return open_serial(place, 115200)


def _judge(found: Outcome, model: QuantizedModel, steps: int, seed: int, part: Part, code: int) -> None:
    """Compare what the host has found with the reference, which is run here. code : what the host exited with"""
    theirs = list(zip(part.digests, part.classes, strict=True))
    ours = list(_expected(model, steps, seed))
    found.steps, found.runs = steps, len(ours)
    found.wrong = sum(a != b for a, b in zip(theirs, ours, strict=False)) + code
    found.lost, found.doubled = max(0, steps - part.steps), max(0, part.steps - steps)


def _expected(model: QuantizedModel, steps: int, seed: int) -> Iterator[tuple[int, int]]:
    for counts in stimulus(model, steps, seed):
        told = Reference(model).steps(counts)
        yield int(told.digests[-1]), int(np.argmax(told.y))
