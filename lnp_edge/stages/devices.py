"""A device for a command or for Python: an emulated board with freshly built firmware, or a board at a port."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from lnp_edge import boards
from lnp_edge.firmware_gen import build, generate
from lnp_edge.firmware_gen.folder import scratch
from lnp_edge.runtime.device import Device
from lnp_edge.runtime.faults import FaultyPort
from lnp_edge.runtime.link import Port
from lnp_edge.runtime.ports import open_again, open_board
from lnp_edge.spec.board import Board
from lnp_edge.spec.model import QuantizedModel


@contextmanager
def device(
    model: QuantizedModel, name: str, port: str | None, faults: float = 0.0, seed: int = 1,
    told: dict[str, str] | None = None, rates: Sequence[int] = (),
) -> Iterator[Device]:  # fmt: skip
    """Without a port, it builds and starts the firmware.

    faults : per byte of the line;  told : receives what is known of the firmware;  rates : of the line, see Device
    """
    with opened(model, name, port, told=told) as line:
        between = FaultyPort(line, faults, seed) if faults else line
        opens_ms = boards.get(name).opens_ms
        reopen = (lambda: open_again(line, opens_ms)) if port else None
        found = Device(between, model, port or name, reopen=reopen, rates=rates)
        yield found
        found.rate.down()


@contextmanager
def opened(
    model: QuantizedModel, name: str, port: str | None, app: bool = False, told: dict[str, str] | None = None
) -> Iterator[Port]:
    """Without the name of a port, it builds and starts the firmware: the server, or the app."""
    board = boards.get(name)
    with scratch() as folder:
        image = None if port or board.start == "serial" else built(model, board, folder, app, told)
        with closing(open_board(board, image, port)) as line:
            yield line


def built(
    model: QuantizedModel, board: Board, folder: Path, app: bool = False, told: dict[str, str] | None = None
) -> Path:
    """The image of the firmware, built in a folder."""
    files = generate.generate(model, board, app=app)
    generate.write(files, folder)
    image = build.build(folder).image
    if told is not None:
        sources = "".join(f"{path}\0{text}\0" for path, text in sorted(files.items()))
        told["sources"] = hashlib.sha256(sources.encode()).hexdigest()
        told["image"] = hashlib.sha256(image.read_bytes()).hexdigest()
        told["toolchain"] = board.toolchain
        told["compiler"] = build.version(board.toolchain, board.family)
    return image
