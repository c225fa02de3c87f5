"""Compare the decisions of a device with the host's: the program that lnp generate --app writes, fed with samples.

It names its columns, takes each sample as a row of text and answers with a row for each decision, as csrc/app.c.in
says. So what runs is lnp_<name>_push, and with it the whole path from a sample to a decision.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from lnp_edge.base.errors import LinkError
from lnp_edge.runtime.host import Stream
from lnp_edge.runtime.link import Port
from lnp_edge.runtime.ports import spoken_to
from lnp_edge.runtime.reference import Reference
from lnp_edge.runtime.verify import stimulus
from lnp_edge.spec.model import QuantizedModel

DECISIONS, MOST_SAMPLES = 40, 20_000
AT_ONCE = 4096  # bytes of samples in one write, if it is not one sample alone: QEMU takes some 10 kB a second
PATIENCE = 1200  # empty reads in a row, of 50 ms on a pty, until the program counts as silent: a busy machine is slow
LONGEST = 2**20  # bytes of an answer without a line's end

# End in samples, label, margin, percent, unknown, read-outs; of a forecast end and read-outs, which it follows from.
Row = tuple[int, ...]


@dataclass(frozen=True)
class Decisions:
    """The comparison. expected, found : of the first decision that differs, else (); left_out : why it did not run"""

    compared: int = 0
    differ: int = 0
    expected: Row = ()
    found: Row = ()
    left_out: str = ""

    @property
    def ok(self) -> bool:
        return self.differ == 0

    def as_dict(self) -> dict:
        return asdict(self)

    def lines(self) -> list[str]:
        if self.left_out:
            return [f"decisions from single samples: left out, {self.left_out}"]
        if self.ok:
            return [f"decisions: {self.compared} from single samples, 0 differences"]
        what = "sample, label, margin, percent, unknown, read-outs; of a forecast sample, read-outs"
        return [
            f"DIFFERENT: {self.differ} of {self.compared} decisions ({what})",
            f"  first: device {self.found}, reference {self.expected}",
        ]


def samples_for(model: QuantizedModel, seed: int) -> NDArray[np.int16]:
    """Samples [T, C] of the stimulus of lnp verify, for DECISIONS decisions, or fewer if they would be very many.

    One value that stands for none is among them if counts can: after it the stream begins anew.
    """
    count = max(model.window, min(MOST_SAMPLES, model.window + (DECISIONS - 1) * model.hop))
    steps = -(-count // model.front.frame)
    runs = np.concatenate(list(stimulus(model, steps, seed)))
    found = runs.reshape(-1, len(model.channels))[:count]
    if model.missing_counts:
        good = next(v for v in range(len(model.missing_counts) + 1) if v not in model.missing_counts)
        found = np.where(np.isin(found, model.missing_counts), good, found).astype(np.int16)
        found[model.window + DECISIONS // 2 * model.hop :][:1, -1] = model.missing_counts[0]
    return found


def compare(model: QuantizedModel, port: Port, samples: NDArray[np.int16]) -> Decisions:
    """Raises LinkError if the program falls silent or answers with anything but rows of integers."""
    expected: list[Row] = []
    stream = Stream(Reference(model), model)
    for end, row in enumerate(samples, 1):
        if np.isin(row, model.missing_counts).any():
            stream.gap()
        elif p := stream.push(row):
            said = () if p.label is None else (p.label, p.margin, p.percent, int(p.unknown))
            expected.append((end, *said, *p.y))
    text = b"".join(",".join(map(str, row)).encode() + b"\n" for row in samples.tolist())
    values = model.n_out if model.forecast else 0
    rows = _answers(port, text.splitlines(keepends=True), len(expected), values)
    wrong = [k for k, (a, b) in enumerate(zip(expected, rows, strict=True)) if a != b]
    first = (expected[wrong[0]], rows[wrong[0]]) if wrong else ((), ())
    return Decisions(len(expected), len(wrong), *first)


def _answers(port: Port, lines: list[bytes], count: int, values: int = 0) -> list[Row]:
    """The first `count` rows that the program writes while it is given the lines, once it has named its columns.

    Its messages, which begin with #, are no rows. values : after the first cell that are left out, in decimals
    Before that it may not listen yet: QEMU drops what comes while the firmware starts.
    """
    todo, found, silent = iter(lines), bytearray(), 0
    at_once = max(1, AT_ONCE // max(map(len, lines)))
    while (given := found.count(b"\n") - found.count(b"\n#") - 1) < count:
        some = b"".join(islice(todo, at_once)) if given >= 0 else b""
        with spoken_to("the program that decides"):
            if some:
                port.write(some)
            more = port.read(4096)
        silent = 0 if more or some else silent + 1
        found += more
        if silent > PATIENCE or len(found) > LONGEST + 400 * count:
            raise LinkError(f"the program gave {max(0, given)} of {count} decisions", "report this with the model file")
    try:
        rows = [row for row in bytes(found).split(b"\n")[1:] if not row.startswith(b"#")]
        cells = [row.decode("ascii").replace(",", " ").split() for row in rows[:count]]
        return [tuple(map(int, [*row[:1], *row[1 + values :]])) for row in cells]
    except ValueError:
        raise LinkError(f"the program wrote {bytes(found[:60])!r}", "report this with the model file") from None
