"""What several test files share: tools that may be absent, and firmware that is compiled once."""

# One BLAS thread, as in lnp: before numpy is imported.
import lnp_edge.cli  # noqa: F401

# isort: split
import gc
import hashlib
import os
import re
import shutil
import subprocess
import sys
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
# The same terminal too: in a dumb one rich takes 80 columns, whatever a test asks for.
os.environ["TERM"] = "xterm"


def need(*tools: str) -> None:
    """Skip without these programs, Python packages or /files; where the variable CI is set, that is a failure."""
    missing = [tool for tool in tools if not _is_there(tool)]
    if missing:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"not installed: {', '.join(missing)}")


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


# Compiled for what it does and not for how fast: in half to two thirds of the time.
EASE = {"cc": ("-O3", "-O0"), "arm-none-eabi-gcc": ("-O3", "-O1")}
PLACES = {"PATH", "HOME", "TMPDIR", "ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR"}  # where, not what


asked = {"level": False}  # whether the test that runs has the mark usual_level


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    asked["level"] = item.get_closest_marker("usual_level") is not None


def pytest_collection_finish():
    gc.freeze()  # thousands of tests and all modules, which no later search for garbage has to visit


class Compiled:
    """In place of subprocess.run for build(): a C file that is compiled again with the same words, environment and
    headers is the object of before. Without the mark usual_level it optimises less."""

    def __init__(self, kept: Path):
        self.kept = kept

    def __call__(self, command, **more):
        if "-o" not in command or "-c" in command:
            return subprocess.run(command, **more)
        if not asked["level"]:
            usual, less = EASE.get(Path(command[0]).name, ("", ""))
            command = [less if word == usual else word for word in command]
        folder, at = Path(more["cwd"]), command.index("-o")
        words = list(command)
        for k, name in enumerate(command):
            if k > at and name.endswith(".c"):
                words[k] = str(self.object_of(command[:at], folder, name, more))
                if not Path(words[k]).exists():
                    return subprocess.run(command, **more)  # which says what is wrong
        scripts = [folder / word for word in words if word.endswith((".ld", ".o"))]
        image = self.place(words[:at] + words[at + 2 :], scripts, more)
        if not image.exists():
            done = subprocess.run(words, **more)
            if done.returncode:
                return done
            shutil.copy(folder / command[at + 1], image)
        shutil.copy(image, folder / command[at + 1])
        return subprocess.CompletedProcess(command, 0, "", "")

    def object_of(self, words, folder, name, more) -> Path:
        found = self.place([*words, name], sorted(included(folder, name)), more).with_suffix(".o")
        if not found.exists():
            subprocess.run([*words, "-c", name, "-o", str(found)], **more)
        return found

    def place(self, words, files, more) -> Path:
        """The file of what these words make of these files."""
        where = {key: value for key, value in more["env"].items() if key not in PLACES}
        told = hashlib.sha256(repr((words, where, [(path.name, path.read_bytes()) for path in files])).encode())
        return self.kept / told.hexdigest()


def included(folder: Path, name: str) -> set[Path]:
    """A file of this folder and those that it includes."""
    found, todo = set(), [name]
    while todo:
        path = folder / todo.pop()
        if path.exists() and path not in found:
            found.add(path)
            todo += re.findall(r'^#include "(.*)"', path.read_text(), re.MULTILINE)
    return found


@pytest.fixture(autouse=True, scope="session")
def compiled_once(tmp_path_factory):
    """verify, build and the tests of their parts ask for the same firmware again and again."""
    from lnp_edge.firmware_gen import build as build_module

    run = Compiled(tmp_path_factory.mktemp("objects"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build_module, "subprocess", SimpleNamespace(**vars(subprocess) | {"run": run}))
        yield


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
    """Parameters of a test: cases whose first value is a board's name, which may be the whole case."""
    marked = ((case if isinstance(case, tuple) else (case,)) for case in cases)
    return [pytest.param(*c, marks=() if c[0] in EVERYDAY else pytest.mark.slow) for c in marked]


def need_for(name: str, toolchain: str = "", start: bool = True) -> None:
    """need() of whatever builds firmware for a board and, unless told otherwise, starts it."""
    board = boards.get(name)
    compiler = "ziglang" if (toolchain or board.toolchain) == "zig" else commands.COMPILERS[board.family]
    starts = {name: (name, "elftools") for name in ("unicorn", "rp2040py", "simavr")}
    starts["qemu"] = board.qemu[:1] if board.start == "qemu" else ()
    need(compiler, *(starts.get(board.start, ()) if start else ()))


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
    def compiled(board: str, seed: int, kind: str, toolchain: str, optimize: str, usual: bool) -> Path:
        folder = tmp_path_factory.mktemp(f"{board}-{kind}-{seed}")
        write(generate(ALL[kind](seed), boards.get(board)), folder)
        return build(folder, toolchain, optimize).image

    def image(board: str, seed: int = 1, kind: str = "layer", toolchain: str = "", optimize: str = "") -> Path:
        toolchain = toolchain or boards.get(board).toolchain
        need_for(board, toolchain)
        return compiled(board, seed, kind, toolchain, optimize, asked["level"])

    return image


@pytest.fixture
def made(tmp_path):
    """made(kind, name="net", of=model()) -> the folder of a library of lnp generate --as, see exported.py."""
    from exported import made_in

    return made_in(tmp_path)
