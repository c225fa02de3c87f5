"""What a model costs on a board: measured instructions and bytes, and the time that follows from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

from lnp_edge.firmware_gen.stack import Stack
from lnp_edge.spec import layout
from lnp_edge.spec.board import Board
from lnp_edge.spec.frontend import GROUP
from lnp_edge.spec.model import QuantizedModel

# Cycles an instruction takes on average, where neither the board counts them nor runtime/code.py knows
# the manual's of its core: an assumption, and no bound. On a Cortex-M0 a taken branch takes 3 and,
# with the small multiplier, a product 32 (DDI 0432 3.3); a Cortex-M7 or M33 issues some pairs at once.
# Waits for flash come on top.
CYCLES = 1.0, 2.0

Range = tuple[float, float]


@dataclass(frozen=True)
class Use:
    """What a firmware uses of a board, with start-up code, link and stack."""

    flash: int  # B
    ram: int  # B
    ops: float = 0.0  # instructions per step: their mean, or the bound if the budget asks for that
    longest: int = 0  # instructions of the longest step that was counted


Meter = Callable[[QuantizedModel], Use]


@dataclass(frozen=True)
class Counted:
    """The instructions of a step of the network, callees included.

    data : which steps were counted, in words
    cycles : the fewest and the most of a step on average, by the manual of the core; zeros if unknown
    """

    data: str
    steps: int
    mean: float
    largest: int
    cycles: Range = (0.0, 0.0)


@dataclass(frozen=True)
class Forced:
    """Instructions of a step while neurons are forced to fire; commands/_forced.py says what they prove.

    bound : of any step: no step that was counted exceeds it
    largest : of the largest step that was forced
    fired : the most neurons that fired in a forced step, of `neurons`
    cycles : the most of a step of `bound` instructions, by the manual of the core; 0 if unknown
    """

    bound: int
    largest: int
    fired: int
    neurons: int
    cycles: int = 0


@dataclass(frozen=True)
class BoardCost:
    """counted is empty, stack 0 and flash and ram are 0 where nothing measured them; `missing` says why.

    counted : first what represents the model, real data if there are any
    counted_on : the emulated board that ran, of the same core as the board
    stack : B that the program took of those that are reserved, while steps were counted
    deepest : what its calls can take of them at most, see firmware_gen/stack.py; None if nothing was built
    forced : None where nothing was forced, or where a counted step exceeded the bound
    cycles : mean of a step by the board's own counter, on data like those that were counted first; 0 if it has none
    serves : whether flash and ram are of the program that lnp verify asks, which has one window
    ram_of_app : B of the program of lnp generate --app: the networks of all open windows and no link; 0 if ram is
    untested : whether they are of that program without the self-test, for which the board has room
    """

    model: QuantizedModel
    board: Board
    flash: int = 0
    ram: int = 0
    counted: tuple[Counted, ...] = ()
    counted_on: str = ""
    forced: Forced | None = None
    stack: int = 0
    deepest: Stack | None = None
    cycles: float = 0.0
    missing: str = ""
    serves: bool = True
    ram_of_app: int = 0
    untested: bool = False

    @property
    def tables(self) -> dict[str, int]:
        """B of flash of the tables of each projection and population, of the encoder and of the front end."""
        found, owners = dict[str, int](), {f"w_{p.name}" for p in self.model.projections}
        owners |= {GROUP, "encoder", *(p.name for p in self.model.populations)}
        for name, table in layout.tables(self.model).items():
            owner = max((prefix for prefix in owners if name.startswith(f"{prefix}_")), key=len)
            found[owner] = found.get(owner, 0) + table.nbytes
        return found

    @property
    def a_window(self) -> float:
        """Instructions of a window; of a stream, of a hop."""
        samples = self.model.hop if self.model.decision.stream else self.model.window
        return self.counted[0].mean * samples / self.model.front.frame

    @property
    def a_second(self) -> float:
        """Instructions for a second of signal."""
        return self.counted[0].mean * self.model.steps_a_second

    @property
    def an_instruction(self) -> Range:
        """Cycles on average: measured if the board counts them, else by the manual, else assumed."""
        one = self.counted[0]
        low, high = (self.cycles,) * 2 if self.cycles else one.cycles
        return (low / one.mean, high / one.mean) if high else CYCLES

    @property
    def bound_ms(self) -> Range:
        """Milliseconds of the longest step: of the bound, or else of the largest that was counted."""
        if self.forced is None:
            return self.largest_ms
        low, high = self.ms(self.forced.bound)
        if self.forced.cycles and not self.cycles:
            high = 1e3 * self.forced.cycles / self.board.clock_hz
        return low, high

    @property
    def mean_ms(self) -> Range:
        """Milliseconds of a step on average."""
        return self.ms(self.counted[0].mean)

    @property
    def largest_ms(self) -> Range:
        """Milliseconds of the largest step that was counted."""
        return self.ms(self.counted[0].largest)

    def ms(self, instructions: float) -> Range:
        """Milliseconds of some instructions at the board's clock."""
        low, high = (1e3 * instructions * cycles / self.board.clock_hz for cycles in self.an_instruction)
        return low, high

    @property
    def share(self) -> Range:
        """Share of the processor, on average."""
        low, high = (ms / 1e3 * self.model.steps_a_second for ms in self.mean_ms)
        return low, high

    @property
    def microjoules(self) -> Range:
        """Of a step on average, an estimate; 0 if the board's file says no current."""
        low, high = (1e6 * self.counted[0].mean * n * self.board.joules_a_cycle for n in self.an_instruction)
        return low, high

    @property
    def verdict(self) -> str:
        """Whether the board keeps up: with the model's rate on average, and with each sample at once."""
        interval = 1e3 * self.model.sample_dt
        least, most = (self.model.open_windows * ms for ms in self.bound_ms)
        if self.share[1] > 1:
            return "too slow" if self.share[0] > 1 else "perhaps too slow"
        if most > interval:
            return "late" if least > interval else "perhaps late"
        return "in time"

    def as_dict(self) -> dict:
        found = {
            "board": self.board.name,
            "clock_hz": self.board.clock_hz,
            "flash": self.flash,
            "flash_size": self.board.limits[0],
            "ram": self.ram,
            "ram_of_app": self.ram_of_app,
            "ram_size": self.board.limits[1],
            "tables": self.tables,
            "state": layout.state_bytes(self.model),
            "stack": self.stack,
            "stack_at_most": self.deepest and self.deepest.deepest,
            "counted": [asdict(one) for one in self.counted],
            "counted_on": self.counted_on,
            "forced": self.forced and asdict(self.forced),
            "cycles_a_step": self.cycles,
            "open_windows": self.model.open_windows,
            "steps_a_second": self.model.steps_a_second,
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
            "bound_ms": self.bound_ms,
            "share": self.share,
            "microjoules_a_step": self.microjoules if self.board.joules_a_cycle else None,
            "verdict": self.verdict,
        }
