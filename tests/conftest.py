"""What several test files share: tools that may be absent, and firmware that is compiled once."""

# One BLAS thread, as in lnp: before numpy is imported.
import lnp_edge.cli  # noqa: F401

# isort: split
import os
import shutil
from importlib.util import find_spec
from pathlib import Path

import hypothesis
import pytest
from tiny import tiny_model

from lnp_edge import boards

# The same examples in every run, and no clock: a busy machine is no failure.
hypothesis.settings.register_profile("lnp", deadline=None, derandomize=True)
hypothesis.settings.load_profile("lnp")


def need(*tools: str) -> None:
    """Skip without these programs or Python packages; where the variable CI is set, their absence is a failure."""
    missing = [tool for tool in tools if not (shutil.which(tool) or find_spec(tool))]
    if missing:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"not installed: {', '.join(missing)}")


BUILDS = {"gcc": ("arm-none-eabi-gcc",), "zig": ("ziglang",), "host": ("cc",)}
STARTS = {"qemu": ("qemu-system-arm",), "unicorn": ("unicorn", "elftools")}


def need_for(name: str, toolchain: str = "", start: bool = True) -> None:
    """need() of whatever builds firmware for a board and, unless told otherwise, starts it."""
    board = boards.get(name)
    need(*BUILDS[toolchain or board.toolchain], *(STARTS.get(board.start, ()) if start else ()))


@pytest.fixture
def plain_pictures(monkeypatch):
    """Figures are made and saved, but not drawn: for what is not about pictures."""
    from lnp_edge.base.files import write_whole
    from lnp_edge.experiments import figures

    monkeypatch.setattr(figures, "_save", lambda figure, path: write_whole(path, b"no picture"))


@pytest.fixture(scope="session")
def firmware(tmp_path_factory):
    """firmware(board, seed=1, toolchain="") -> the image of tiny_model(seed), compiled once a session."""
    from lnp_edge.firmware_gen.build import build
    from lnp_edge.firmware_gen.generate import generate, write

    built: dict[tuple[str, int, str], Path] = {}

    def image(board: str, seed: int = 1, toolchain: str = "") -> Path:
        toolchain = toolchain or boards.get(board).toolchain
        need_for(board, toolchain)
        if (board, seed, toolchain) not in built:
            folder = tmp_path_factory.mktemp(f"{board}-{seed}")
            write(generate(tiny_model(seed), boards.get(board)), folder)
            built[board, seed, toolchain] = build(folder, toolchain).image
        return built[board, seed, toolchain]

    return image
