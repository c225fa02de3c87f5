"""A rival (lnp_edge.rivals) on a board: trained, built, run, compared with its reference and counted.

Instructions are those of one call of lnp_rival_scores: it takes a whole window. Every hop brings a
window, so a second of signal costs the instructions of a window divided by the hop in seconds.
Flash and RAM are those of the whole image: start-up code, UART driver, the buffer of a window and
the reserved stack are in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from inspect import signature

import numpy as np
from numpy.typing import NDArray

from lnp_edge import boards
from lnp_edge.base.errors import BoardError, ConfigError, LinkError
from lnp_edge.base.progress import Progress
from lnp_edge.config import Config, StreamSettings
from lnp_edge.firmware_gen import rival as firmware
from lnp_edge.firmware_gen.build import Sizes, build, compiler
from lnp_edge.firmware_gen.folder import scratch, write
from lnp_edge.rivals import FORECAST_ONE, Rival
from lnp_edge.runtime.emulator import Emulator
from lnp_edge.runtime.link import Port
from lnp_edge.runtime.ports import open_board, spoken_to
from lnp_edge.spec import plugins
from lnp_edge.spec.board import Board
from lnp_edge.spec.frontend import RAW
from lnp_edge.task import metrics
from lnp_edge.task.split import Split, load_data, split

PACKAGE = "lnp_edge.rivals"
BOARD = "cortex-m4"
ROOM = 2**26  # B of flash and of RAM: a rival that is too large is built too, to see by how much
COUNTED = 8  # windows whose instructions are counted: each block is a call from the emulator
COMPARED = 1000  # windows whose scores are compared, unless told otherwise
AT_ONCE = 16  # windows in one request to the emulator
PATIENCE = 1200  # empty reads of 50 ms until a device that is no emulator counts as silent: a busy machine is slow
PROGRAM = "the firmware of the rival"


@dataclass(frozen=True)
class Measured:
    """What a rival gives and costs on the test windows of a task."""

    name: str
    title: str
    metric: str  # key of metrics.of
    value: float  # on all test windows, by the integer reference
    low: float  # 95 % interval
    high: float
    units: str  # what the interval resamples
    sums: list[list[float]] = field(repr=False)  # of each unit, see metrics.by_unit
    instructions: float  # of a window: mean over those counted
    longest: int  # of a window
    per_second: float  # instructions for a second of signal
    flash: int  # B
    ram: int  # B
    compared: int  # windows whose scores were compared
    differ: int  # windows whose scores differ between board and reference
    board: str
    files: dict[str, str] = field(default_factory=dict, repr=False)  # its C, by name; not kept with the figures

    def as_dict(self) -> dict:
        """Without the sums and the C."""
        return {name: value for name, value in asdict(self).items() if name not in ("sums", "files")}


def names() -> list[str]:
    return plugins.names(PACKAGE)


def title(name: str) -> str:
    return plugins.get(PACKAGE, name).TITLE


def suiting(data: Split) -> list[str]:
    """The names of all rivals that can take the task."""
    return [name for name in names() if not plugins.get(PACKAGE, name).suits(data)]


def draws(name: str) -> bool:
    """Whether its training takes a seed: without one, all seeds give the same rival."""
    return "seed" in signature(plugins.get(PACKAGE, name).fit).parameters


def of_baselines(data: Split) -> dict[str, tuple[str, str]]:
    """For rows of task.baselines.simple: the rival that builds it, and why it cannot take the task, or ""."""
    found = {}
    for name in names():
        module = plugins.get(PACKAGE, name)
        if row := getattr(module, "BASELINE", ""):
            found[row] = name, module.suits(data)
    return found


def available() -> bool:
    """Whether the compiler and the emulator that count are installed."""
    try:
        compiler(boards.get(BOARD).toolchain)
    except BoardError:
        return False
    return find_spec("unicorn") is not None


def data_of(config: Config, held_out: tuple[int, ...] | None = None) -> Split:
    """The data of a task for rivals: windows of every sample as it is, whatever the network takes."""
    return split(raw(config), load_data(config), held_out)


def raw(config: Config) -> Config:
    return replace(
        config, data=replace(config.data, front=RAW.kind, frame=RAW.frame, params={}), stream=StreamSettings()
    )


def require(name: str, data: Split) -> None:
    """Raises ConfigError if there is no such rival, or if it cannot take the task."""
    if why := plugins.get(PACKAGE, name).suits(data):
        others = ", ".join(suiting(data)) or "other tasks"
        raise ConfigError(f"{name} cannot take {data.train.name}: {why}", f"choose among {others}")


def trained(name: str, data: Split, seed: int, progress: Progress | None = None) -> Rival:
    """Raises ConfigError as require does."""
    require(name, data)
    drawn = {"seed": seed} if draws(name) else {}
    return plugins.get(PACKAGE, name).fit(data, progress=progress, **drawn)


def measure(name: str, data: Split, seed: int = 1, progress: Progress | None = None, most: int = COMPARED) -> Measured:
    """Train a rival, and measure it on the test windows and on the emulated board.

    data : of data_of
    most : windows whose scores are compared, spread over the test; hostile ones are added
    """
    assert data.task.front == RAW, "see data_of"
    tell = progress or (lambda share, what: None)
    found = trained(name, data, seed, lambda share, what: tell(0.7 * share, what))
    counts = data.test_windows.counts
    reference = found.scores(counts)
    some = counts[_spread(len(counts), most)]
    windows = [*some, *hostile(counts.shape[1:], seed)]
    wanted = np.concatenate([reference[_spread(len(counts), most)], found.scores(np.stack(windows[len(some) :]))])
    tell(0.7, "build")
    with on_board(found, shape_of(data), boards.get(BOARD)) as device:
        calls = device.instructions(counts[_spread(len(counts), COUNTED)])
        said = device.scores(windows, lambda done: tell(0.75 + 0.25 * done / len(windows), "run"))
    predicted = predictions(data, reference)
    metric = data.test.metric
    low, high, units = metrics.interval(data.test, data.test_windows, predicted, data.cut)
    sums, _ = metrics.by_unit(data.test, data.test_windows, predicted, data.cut)
    return Measured(
        name=name,
        title=title(name),
        metric=metric,
        value=metrics.of(data.test, data.test_windows, predicted)[metric],
        low=low,
        high=high,
        units=units,
        sums=sums.tolist(),
        instructions=float(np.mean(calls)),
        longest=max(calls),
        per_second=float(np.mean(calls)) / (data.task.hop * data.dt),
        flash=device.sizes.flash,
        ram=device.sizes.ram,
        compared=len(windows),
        differ=int((said != wanted).any(1).sum()),
        board=BOARD,
        files=firmware.sources(found.c_files(), shape_of(data), data.test.classes or _targets(data)),
    )


def _targets(data: Split) -> list[str]:
    assert data.test.series
    return [data.test.channels[k] for k in data.test.series.target]


def shape_of(data: Split) -> tuple[int, int, int]:
    """Steps and channels of a window, and the number of scores."""
    return data.task.window, len(data.task.channels), len(data.task.classes)


def predictions(data: Split, scores: NDArray[np.int32]) -> NDArray:
    """What scores [W, K] say, in the form of metrics.of: classes [W], or counts [W, 1, K]."""
    if data.test.series:
        return scores[:, None] / FORECAST_ONE
    return scores.argmax(1)


def hostile(shape: Sequence[int], seed: int) -> NDArray[np.int16]:
    """Windows [6, T, C] at the edges of int16: least, largest, both in turn, all bits random, a constant, silence."""
    rng = np.random.default_rng(seed)
    found = np.zeros((6, *shape), np.int16)
    found[0], found[1] = -32768, 32767
    found[2, ::2], found[2, 1::2] = 32767, -32768
    found[3] = rng.integers(-32768, 32768, shape)
    found[4] = rng.integers(-32768, 32768, shape[1])
    return found


def _spread(count: int, most: int) -> NDArray[np.intp]:
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.intp))


class Device:
    """A rival's firmware on a board that has just started. Raises LinkError if it does not say that it is up."""

    def __init__(self, port: Port, shape: tuple[int, int, int], sizes: Sizes):
        self._port, self._scores, self.sizes = port, shape[2], sizes
        self._at_once = AT_ONCE if isinstance(port, Emulator) else 1
        self._read(1)

    def scores(
        self, windows: Sequence[NDArray[np.int16]] | NDArray[np.int16], progress: Callable[[int], None] | None = None
    ) -> NDArray[np.int32]:
        """int32 [W, K] for windows int16 [T, C] each. Raises LinkError if the device falls silent."""
        found = bytearray()
        for k in range(0, len(windows), self._at_once):
            some = windows[k : k + self._at_once]
            with spoken_to(PROGRAM):
                self._port.write(b"".join(window.astype("<i2").tobytes() for window in some))
            found += self._read(4 * self._scores * len(some))
            if progress:
                progress(k + len(some))
        return np.frombuffer(bytes(found), "<i4").reshape(len(windows), self._scores)

    def _read(self, size: int) -> bytearray:
        found, empty = bytearray(), 0
        while len(found) < size:
            with spoken_to(PROGRAM):
                more = self._port.read(size - len(found))
            empty = 0 if more else empty + 1
            if empty > (1 if isinstance(self._port, Emulator) else PATIENCE):
                raise LinkError(f"{PROGRAM} fell silent", "report this with the command line")
            found += more
        return found

    def instructions(self, windows: NDArray[np.int16]) -> list[int]:
        """The instructions of lnp_rival_scores for each window. Raises LinkError without an emulator that counts."""
        if not isinstance(self._port, Emulator):
            raise LinkError("this board does not count instructions", f"use {BOARD}")
        with self._port.count("lnp_rival_scores") as counted:
            self.scores(windows)
        return counted.calls


@contextmanager
def on_board(rival: Rival, shape: tuple[int, int, int], board: Board, sanitize: bool = False) -> Iterator[Device]:
    """The rival, built and started. sanitize : abort on undefined behaviour; on the host only"""
    flash, ram = (replace(region, size=max(region.size, ROOM)) for region in (board.flash, board.ram))
    roomy = replace(board, flash=flash, ram=ram)
    with scratch() as folder:
        write(firmware.generate(rival.c_files(), shape, roomy), folder)
        sizes = build(folder, sanitize=sanitize)
        with closing(open_board(roomy, sizes.image)) as port:
            yield Device(port, shape, sizes)
