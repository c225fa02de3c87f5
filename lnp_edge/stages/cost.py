"""What a model costs on a board: measured instructions and bytes, and the time that follows from them."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from lnp_edge.firmware_gen.stream import windows
from lnp_edge.spec import layout
from lnp_edge.spec.board import Board
from lnp_edge.spec.model import QuantizedModel

# Cycles an instruction takes, least and most: an assumption. Most cores issue one instruction at a
# time; DDI 0439 (Cortex-M4) 3.3.1: most take 1 cycle, a load or store up to 2, a taken branch 2 to 4.
# With the most of each, the instructions of a step of 221 neurons on SPAR come to 1.56 (zig) and 1.74
# (gcc), with the least of each to 1.01. Waits for flash come on top, and on a Cortex-M0 with the small
# multiplier the 32 cycles of a product (DDI 0432 3.3).
CYCLES = 1.0, 2.0
OF_A_WINDOW = 12  # B beside its network: age, phase and outside of csrc/lnp_model.h.in
TWO_AT_A_TIME = {"cortex-m7": 0.5, "cortex-m33": 0.5}  # least: these may issue two

Range = tuple[float, float]


@dataclass(frozen=True)
class Counted:
    """The instructions of a step of the network, callees included.

    data : which steps were counted, in words
    """

    data: str
    steps: int
    mean: float
    largest: int


@dataclass(frozen=True)
class BoardCost:
    """counted is empty, stack 0 and flash and ram are 0 where nothing measured them; `missing` says why.

    counted : first what represents the model, real data if there are any
    counted_on : the emulated board that ran, of the same core as the board
    stack : B that the program took of those that are reserved
    cycles : mean of a step by the board's own counter; 0 if it has none
    in_ram : windows whose networks ram holds: one in the program that lnp verify asks
    """

    model: QuantizedModel
    board: Board
    flash: int = 0
    ram: int = 0
    counted: tuple[Counted, ...] = ()
    counted_on: str = ""
    stack: int = 0
    cycles: float = 0.0
    missing: str = ""
    in_ram: int = 1

    @property
    def open_windows(self) -> int:
        """Windows that a sample belongs to: each takes a step of its own."""
        return windows(self.model)

    @property
    def ram_of_app(self) -> int:
        """B with the networks of all open windows, as a program needs that takes samples; 0 if ram is."""
        more = (self.open_windows - self.in_ram) * (layout.state_bytes(self.model) + OF_A_WINDOW)
        return self.ram + more if self.ram else 0

    @property
    def steps_a_second(self) -> float:
        """Steps for a second of signal, all windows together."""
        m = self.model
        return 1 / m.dt if m.decision.stream else m.window / m.front.frame / (m.hop * m.sample_dt)

    @property
    def a_window(self) -> float:
        """Instructions of a window; of a stream, of a hop."""
        samples = self.model.hop if self.model.decision.stream else self.model.window
        return self.counted[0].mean * samples / self.model.front.frame

    @property
    def a_second(self) -> float:
        """Instructions for a second of signal."""
        return self.counted[0].mean * self.steps_a_second

    @property
    def an_instruction(self) -> Range:
        """Cycles, assumed."""
        return TWO_AT_A_TIME.get(self.board.cpu, CYCLES[0]), CYCLES[1]

    @property
    def mean_ms(self) -> Range:
        """Milliseconds of a step on average, measured if the board counts cycles."""
        if self.cycles:
            return (1e3 * self.cycles / self.board.clock_hz,) * 2
        return self.ms(self.counted[0].mean)

    @property
    def largest_ms(self) -> Range:
        """Milliseconds of the largest step that was counted."""
        return self.ms(self.counted[0].largest)

    def ms(self, instructions: float) -> Range:
        """Milliseconds of some instructions at the board's clock, between the assumed cycles."""
        low, high = (1e3 * instructions * cycles / self.board.clock_hz for cycles in self.an_instruction)
        return low, high

    @property
    def share(self) -> Range:
        """Share of the processor, on average."""
        low, high = (ms / 1e3 * self.steps_a_second for ms in self.mean_ms)
        return low, high

    @property
    def verdict(self) -> str:
        """Whether the board keeps up with the model's rate, in words; "" if nothing was counted."""
        if not self.counted:
            return ""
        interval = 1e3 * self.model.sample_dt
        least, most = (self.open_windows * ms for ms in self.largest_ms)
        if self.share[0] > 1:
            said = "too slow"
        elif self.share[1] > 1:
            said = "perhaps too slow"
        elif least > interval:
            said = "late, so buffer samples meanwhile"
        elif most > interval:
            said = "perhaps late, so buffer samples meanwhile"
        else:
            said = "in time"
        every = f"{interval:.3g} ms" if interval < 1e3 else f"{interval / 1e3:.3g} s"
        are_open = f" ({self.open_windows} windows are open)" if self.open_windows > 1 else ""
        return (
            f"A sample comes every {every}. The largest counted takes {in_words((least, most))} ms{are_open}: {said}, "
            f"{percent(self.share)} of the processor."
        )

    def as_dict(self) -> dict:
        found = {
            "board": self.board.name,
            "clock_hz": self.board.clock_hz,
            "flash": self.flash,
            "flash_size": self.board.flash.size,
            "ram": self.ram,
            "ram_of_app": self.ram_of_app,
            "ram_size": self.board.ram.size,
            "stack": self.stack,
            "counted": [asdict(one) for one in self.counted],
            "counted_on": self.counted_on,
            "cycles_a_step": self.cycles,
            "open_windows": self.open_windows,
            "steps_a_second": self.steps_a_second,
            "missing": self.missing,
        }
        if not self.counted:
            return found
        return found | {
            "instructions_a_window": self.a_window,
            "instructions_a_second": self.a_second,
            "cycles_an_instruction": self.an_instruction,
            "mean_ms": self.mean_ms,
            "largest_ms": self.largest_ms,
            "share": self.share,
            "verdict": self.verdict,
        }


def in_words(found: Range) -> str:
    """A range such as "1.2 to 2.4", with two digits; one value if both are the same."""
    low, high = (f"{float(f'{value:.2g}'):g}" for value in found)
    return low if low == high else f"{low} to {high}"


def percent(share: Range) -> str:
    return "under 0.01 %" if share[1] < 1e-4 else f"{in_words((100 * share[0], 100 * share[1]))} %"
