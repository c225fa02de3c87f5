"""All that is compared between a device and the reference: for lnp verify, and for Model.verify in Python.

Steps of a seeded stimulus, then real windows, a self-test of what steps do not run, on wish inputs made to reach
every neuron and every count; and on an emulated board the decisions of the program of lnp generate --app.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lnp_edge import boards
from lnp_edge.base.errors import DoesNotFit, LinkError
from lnp_edge.base.files import alone
from lnp_edge.runtime import coverage, decisions, selftest
from lnp_edge.runtime.coverage import Coverage
from lnp_edge.runtime.decisions import Decisions
from lnp_edge.runtime.device import Device, Greeting
from lnp_edge.runtime.faults import FaultyPort
from lnp_edge.runtime.journal import ELSEWHERE, Journal
from lnp_edge.runtime.selftest import SelfTest
from lnp_edge.runtime.verify import Verdict, stimulus, verify
from lnp_edge.spec import protocol
from lnp_edge.spec.model import QuantizedModel
from lnp_edge.stages import devices

TRIES, TRY = 400, 200  # runs to reach silent neurons, and their steps
TROUBLE = ("damaged here", "damaged there", "recovered", "resumed", "restarted")
Begun = Callable[[str, str, int], Callable[[int], None]]


@dataclass(frozen=True)
class Inputs:
    """What a device is verified with.

    windows : real ones [W, T, C], or None;  faults : of the line, per byte
    exhaustive : also all counts, and runs made to reach silent neurons;  rates : of the line, see Device
    """

    windows: NDArray[np.int16] | None = None
    steps: int = 2000
    seed: int = 1
    faults: float = 0.0
    exhaustive: bool = False
    rates: tuple[int, ...] = ()

    def key(self, model: QuantizedModel, told: Greeting, firmware: dict[str, str]) -> str:
        """What a verification is of, in words. The line may be another one when it goes on, and the image too: it
        holds the name of the folder that it was built in."""
        real = "no" if self.windows is None else f"{zlib.crc32(np.ascontiguousarray(self.windows).tobytes()):08x}"
        return ", ".join([
            f"model {model.fingerprint:08x} on {told.board}", f"{self.steps} steps", f"seed {self.seed}",
            f"windows {real}", f"exhaustive {self.exhaustive}", f"messages {protocol.wire_crc():08x}",
            f"build {told.build:08x}", f"sources {firmware.get('sources', 'as flashed')[:16]}",
            firmware.get("compiler", "as flashed"),
        ])  # fmt: skip


@dataclass(frozen=True)
class Proof:
    """All results; None: it did not run.

    link : what passed on the line, in words;  told, firmware : what is known of the device
    rates : of the line that were asked for, and what became of each
    pace : steps of the runs that were compared in a second, by this computer's clock; no result, so not in as_dict
    """

    verdict: Verdict
    windows: Verdict | None
    generated: Verdict | None
    selftest: SelfTest | None
    decisions: Decisions | None
    coverage: Coverage | None
    cannot: tuple[str, ...]
    link: dict[str, dict[str, int]]
    told: Greeting
    firmware: dict[str, str]
    rates: dict[int, str] = field(default_factory=dict)
    pace: float = field(default=0.0, compare=False)

    @property
    def parts(self) -> list[Verdict | SelfTest | Decisions]:
        every = (self.verdict, self.windows, self.generated, self.selftest, self.decisions)
        return [part for part in every if part is not None]

    @property
    def ok(self) -> bool:
        """Whether nothing differs."""
        return all(part.ok for part in self.parts)

    @property
    def cause(self) -> str:
        """What has most likely led to the first difference; "" without one."""
        for part in self.parts:
            if isinstance(part, Verdict) and part.cause:
                return part.cause
            if isinstance(part, SelfTest) and not part.ok:
                names = ", ".join(c.name for c in part.checks if c.wrong)
                return (
                    f"What the self-test calls {names}: the steps are right, see docs/reliability.md for what it runs."
                )
            if isinstance(part, Decisions) and not part.ok:
                return "The function push, or main.c of the app: the steps are right."
        return ""

    def as_dict(self) -> dict:
        more = {
            name: part.as_dict() if part else None
            for name, part in (
                ("windows", self.windows), ("generated", self.generated), ("selftest", self.selftest),
                ("decisions", self.decisions), ("coverage", self.coverage),
            )
        }  # fmt: skip
        return self.verdict.as_dict() | more | {"cannot_fire": list(self.cannot)} | self.link | {
            "cause": self.cause, "ok": self.ok, "rates": {f"{baud} Bd": what for baud, what in self.rates.items()},
        }  # fmt: skip

    def lines(self, real: str = "the real windows") -> list[str]:
        """The report for a reader. real : the name of their file"""
        lines = self.verdict.lines()
        if self.windows:
            *before, last = self.windows.lines()
            number = len(self.windows.classes)
            which = (
                f"{number} real window{'s' * (number > 1)}" if self.windows.ok else f"counts[{number - 1}] of {real}"
            )
            lines += [*before, f"{last}, on {which}"]
        if self.generated:
            *before, last = self.generated.lines()
            lines += [*before, f"{last}, on all counts and {len(self.generated.classes) - 1} generated runs"]
        for part in (self.selftest, self.decisions, self.coverage):
            lines += part.lines() if part else []
        if self.generated and self.coverage:
            lines += self.coverage.missing()
        if self.cannot:
            lines.append(
                f"their largest drive, held for 4,000 steps, does not make them fire: {', '.join(self.cannot)}"
            )
        lines += [f"likely cause: {self.cause}"] if self.cause else []
        lines += [f"line at {baud:,} Bd: {what}" for baud, what in self.rates.items()]
        if "faults" in self.link or any(self.link["link"].get(key) for key in TROUBLE):
            for what, count in self.link.items():
                lines.append(f"{what}: {', '.join(f'{n} {kind}' for kind, n in count.items())}")
        if self.pace:
            lines.append(f"pace: {self.pace:,.0f} steps a second, on the device, the line and the reference")
        return lines


def prove(
    model: QuantizedModel, board: str, inputs: Inputs, port: str | None = None, resume: Path | None = None,
    begun: Begun = lambda what, kind, total: lambda steps: None,
) -> Proof:  # fmt: skip
    """Build the firmware for a board and start it, or open a port; then compare it with the reference.

    resume : a file that keeps how far it is, from which it goes on; it is left for the caller to remove
    begun : is told what begins, what is counted and how many, and gives what is called with those that are done
    """
    firmware: dict[str, str] = {}
    with devices.device(model, board, port, inputs.faults, inputs.seed, firmware, inputs.rates) as device:
        found = _on_device(model, board, inputs, port, resume, begun, device, firmware)
    if port is not None:
        return found
    try:
        with devices.opened(model, board, None, app=True) as line:
            decided = decisions.compare(model, line, decisions.samples_for(model, inputs.seed))
    except DoesNotFit as e:  # all open windows have a network in it, of which the server has one
        decided = Decisions(left_out=f"the program of lnp generate --app {e.what}")
    return replace(found, decisions=decided)


def _on_device(
    model: QuantizedModel, board: str, inputs: Inputs, port: str | None, resume: Path | None, begun: Begun,
    device: Device, firmware: dict[str, str],
) -> Proof:  # fmt: skip
    told = device.greeting
    if port is None and (told.board, told.clock_hz) != (board, boards.get(board).clock_hz):
        what = f"the firmware for {board} calls itself {told.board}, at {told.clock_hz} Hz"
        raise LinkError(what, "report this with the model file")
    real = [] if inputs.windows is None else list(model.rows(inputs.windows))
    made: list[NDArray[np.int16]] = []
    counter, cannot = coverage.Counter(model), tuple[str, ...]()
    on_real = generated = tested = None
    own = nullcontext() if resume is None else alone(resume, f"wait for it, or {ELSEWHERE}")
    with own, Journal(resume, inputs.key(model, told, firmware), device.traffic) as journal:
        advance = begun(f"verify on {told.board}", "steps", inputs.steps + sum(map(len, real)))
        parts = journal.part("stimulus"), journal.part("windows")
        begin, before = time.monotonic(), sum(part.steps for part in parts)
        report = verify(model, device, stimulus(model, inputs.steps, inputs.seed), advance, parts[0])
        if real and report.ok:
            on_real = verify(model, device, real, advance, parts[1])
        pace = (sum(part.steps for part in parts) - before) / (time.monotonic() - begin)
        if report.ok and (on_real is None or on_real.ok):
            advance = begun(f"self-test on {told.board}", "checks", len(selftest.CHECKS))
            tested = selftest.run(model, device, inputs.seed, lambda cases: advance(1), every=inputs.exhaustive)
        if tested and tested.ok:
            for counts in chain(stimulus(model, inputs.steps, inputs.seed), real, [selftest.counts_at_edges(model)]):
                counter.take(counts)
            if inputs.exhaustive:
                made = [selftest.counts_at_edges(model, every=True)]
                made += coverage.search(counter, TRIES, TRY, inputs.seed)
                advance = begun("all counts and more", "steps", sum(map(len, made)))
                generated = verify(model, device, made, advance, journal.part("generated"))
                cannot = tuple(coverage.cannot(model, counter.silent()))
    faults = {"faults": dict(sorted(device.port.count.items()))} if isinstance(device.port, FaultyPort) else {}
    return Proof(
        report, on_real, generated, tested, None, counter.coverage() if counter.steps else None, cannot,
        {"link": device.traffic.as_dict()} | faults, told, firmware, device.rate.told, pace,
    )  # fmt: skip
