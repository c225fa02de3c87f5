"""What several test files share: tools that may be absent, and firmware that is compiled once."""

# One BLAS thread, as in lnp: before numpy is imported.
import lnp_edge.cli  # noqa: F401

# isort: split
import os
import shutil
import subprocess
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import hypothesis
import pytest
from tiny import ALL

from lnp_edge import boards, neurons
from lnp_edge.firmware_gen import commands
from lnp_edge.rivals import _cnn, _gru

# The same examples in every run, and no clock: a busy machine is no failure.
hypothesis.settings.register_profile("lnp", deadline=None, derandomize=True)
hypothesis.settings.load_profile("lnp")


def need(*tools: str) -> None:
    """Skip without these programs or Python packages; where the variable CI is set, their absence is a failure."""
    missing = [tool for tool in tools if not (shutil.which(tool) or find_spec(tool))]
    if missing:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"not installed: {', '.join(missing)}")


@pytest.fixture(autouse=True, scope="session")
def short_trainings_of_rivals():
    """A few batches: tests of rivals ask whether C equals the reference, not how well it is trained."""
    with pytest.MonkeyPatch.context() as patch:
        for recipe in (_cnn, _gru):
            patch.setattr(recipe, "STEPS", 12)
        yield


PLACES = {"PATH", "HOME", "TMPDIR", "ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR"}  # where, not what


@pytest.fixture(autouse=True, scope="session")
def compiled_once():
    """build() compiles the same files with the same command and environment once a session, and then copies the image:
    verify, build and the tests of their parts ask for the same firmware again and again."""
    from lnp_edge.firmware_gen import build as build_module

    images: dict[tuple, tuple[bytes, int]] = {}

    def run(command, **more):
        if "-o" not in command:
            return subprocess.run(command, **more)
        folder = Path(more["cwd"])
        output = folder / command[command.index("-o") + 1]
        read = {folder / word for word in command[1:]} | set(folder.iterdir())
        files = tuple((p.name, p.read_bytes()) for p in sorted(read) if p.is_file())
        key = tuple(command), files, tuple(sorted((k, v) for k, v in more["env"].items() if k not in PLACES))
        if key not in images:
            done = subprocess.run(command, **more)
            if done.returncode == 0:
                images[key] = output.read_bytes(), output.stat().st_mode
            return done
        output.write_bytes(images[key][0])
        output.chmod(images[key][1])
        return subprocess.CompletedProcess(command, 0, "", "")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build_module, "subprocess", SimpleNamespace(**vars(subprocess) | {"run": run}))
        yield


@pytest.fixture
def more_neurons(monkeypatch):
    """Names of the neurons of tests/plugins, which are found beside those of the package while a test runs."""
    folder = Path(__file__).parent / "plugins/neurons"
    monkeypatch.setattr(neurons, "__path__", [*neurons.__path__, str(folder)])
    return sorted(path.stem for path in folder.glob("*.py"))


# What is built and run at every test; the other boards differ in core and driver alone, and are slow tests.
EVERYDAY = {"host", "cortex-m0", "cortex-m4", "mps2-an386", "netduinoplus2", "nucleo-f401re"}


def of_boards(cases):
    """Parameters of a test: cases whose first value is a board's name, which may be the whole case."""
    marked = ((case if isinstance(case, tuple) else (case,)) for case in cases)
    return [pytest.param(*c, marks=() if c[0] in EVERYDAY else pytest.mark.slow) for c in marked]


def need_for(name: str, toolchain: str = "", start: bool = True) -> None:
    """need() of whatever builds firmware for a board and, unless told otherwise, starts it."""
    board = boards.get(name)
    compiler = "ziglang" if (toolchain or board.toolchain) == "zig" else commands.COMPILERS[board.family]
    starts = {"unicorn": ("unicorn", "elftools"), "rp2040py": ("rp2040py", "elftools")}
    starts["qemu"] = board.qemu[:1] if board.start == "qemu" else ()
    need(compiler, *(starts.get(board.start, ()) if start else ()))


@pytest.fixture
def plain_pictures(monkeypatch):
    """Figures are made and saved, but not drawn: for what is not about pictures."""
    from lnp_edge.base.files import write_whole
    from lnp_edge.experiments import figures

    monkeypatch.setattr(figures, "_save", lambda figure, path: write_whole(path, b"no picture"))


@pytest.fixture(scope="session")
def firmware(tmp_path_factory):
    """firmware(board, seed=1, kind="layer", toolchain="", optimize="") -> the image of ALL[kind](seed), built once a
    session. optimize : "-O1" compiles in half the time, for what does not ask what the optimiser does"""
    from lnp_edge.firmware_gen.build import build
    from lnp_edge.firmware_gen.generate import generate, write

    @cache
    def compiled(board: str, seed: int, kind: str, toolchain: str, optimize: str) -> Path:
        folder = tmp_path_factory.mktemp(f"{board}-{kind}-{seed}")
        write(generate(ALL[kind](seed), boards.get(board)), folder)
        return build(folder, toolchain, optimize).image

    def image(board: str, seed: int = 1, kind: str = "layer", toolchain: str = "", optimize: str = "") -> Path:
        toolchain = toolchain or boards.get(board).toolchain
        need_for(board, toolchain)
        return compiled(board, seed, kind, toolchain, optimize)

    return image
