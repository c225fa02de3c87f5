"""Compile a generated folder with the commands of its Makefile, without make."""

from __future__ import annotations

import errno
import importlib.util
import os
import re
import shutil
import subprocess
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lnp_edge import boards
from lnp_edge.base.errors import BoardError, DoesNotFit
from lnp_edge.base.install import INSTALL, upgrade, wanted
from lnp_edge.firmware_gen import built_of, commands, elf
from lnp_edge.firmware_gen.folder import BUILD, Manifest, read_manifest, tool_failed
from lnp_edge.spec.board import ARM, Board

TIMEOUT = 300  # s
KEPT = ("PATH", "HOME", "TMPDIR", "SYSTEMROOT", "TEMP", "LOCALAPPDATA")  # the last three: Windows
COMPILE = (
    "mend that line if it is yours; docs/boards.md has the compilers that were tried; else report this with the model "
    "and the board"
)
OF_BOARD = "change that in the board's board.toml, then run lnp generate again"
ASSERTED = re.compile(r"assertion failed[^\n]*board\.toml: ")  # what drivers check of a board's numbers
OVERFLOW = re.compile(r"region [`'](FLASH|RAM)'[^\n]*overflowed by (\d+) bytes")


@dataclass(frozen=True)
class Sizes:
    """A built image and the bytes it uses of flash and RAM, reserved stack included, and of how many: None, if this
    computer runs it, which has no such limit."""

    image: Path
    flash: int
    ram: int
    flash_size: int | None
    ram_size: int | None

    def as_dict(self) -> dict[str, object]:
        return asdict(self) | {"image": str(self.image)}

    def lines(self) -> list[str]:
        return [
            f"image  {self.image}",
            f"flash  {share(self.flash, self.flash_size)}",
            f"ram    {of_ram(self.ram, self.ram_size)}",
        ]


def share(used: int, size: int | None) -> str:
    return f"{used:,} B" if size is None else f"{used:,} of {size:,} B ({100 * used / size:.1f} %)"


def of_ram(used: int, size: int | None) -> str:
    """The same of RAM. On this computer, whose size is None, the stack is not among the bytes."""
    return share(used, size) + ", with the stack" * (size is not None)


def build(
    folder: Path, toolchain: str = "", optimize: str = "", sanitize: bool = False, more: tuple[str, ...] = ()
) -> Sizes:
    """Compile and link. toolchain and optimize default to those of the board.

    sanitize : abort on undefined behaviour. optimize is then -O0: what is optimised away is not
        checked, and gcc takes up to ten times as long
    more : flags of the compiler that come last

    Raises BoardError if the compiler is missing or fails, DoesNotFit if the image is too large.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    board = boards.get(manifest.board)
    if board.cpu == "host" and not hasattr(os, "fork"):
        raise BoardError(f"{board.name} is a program for Unix", "choose another --board: lnp boards lists them")
    used = toolchain or board.toolchain
    tools = commands.toolchain(board, used, manifest.floats)
    tools = replace(
        tools, cc=compiler(used, board.family), optimize=optimize or ("-O0" if sanitize else tools.optimize)
    )
    sources = sorted(path for path in manifest.files if path.endswith(".c"))
    output = commands.output(manifest.name, used + optimize + ("-sanitize" if sanitize else ""))
    extra = (*more, *(commands.SANITIZE if sanitize else ()))
    command = commands.compile_command(tools, sources, output, extra)
    here = str(folder.resolve())
    _begin(folder, output, manifest)
    _run([word.replace(commands.HERE, here) for word in command], folder, output, board)
    used_memory = elf.usage(folder / output)
    return Sizes(folder / output, used_memory.flash, used_memory.ram, *board.limits)


def compiler(toolchain: str, family: str = ARM) -> tuple[str, ...]:
    """The compiler command of a toolchain on this machine, for a family of cores.

    Raises BoardError, which says how to install it.
    """
    if toolchain == "gcc":
        name = commands.COMPILERS[family]
        found = _on_path((name,))
    elif toolchain == "clang":
        name = next((each for each in commands.LLVM if not shutil.which(each)), "")
        found = () if name else _on_path(commands.LLVM[:1])
    elif toolchain == "zig":
        name, found = "ziglang", _zig()
    else:
        name, found = "cc", _on_path(("cc", "gcc", "clang")) or _zig()
    if not found:
        raise BoardError(f"{name} is not installed", INSTALL[name])
    return found


def version(toolchain: str, family: str = ARM) -> str:
    """The name and version of a toolchain's compiler on this machine, as it says itself."""
    return _first_line([*compiler(toolchain, family), "--version"]) or "unknown"


def _first_line(command: list[str]) -> str:
    """Of what a compiler prints."""
    done = subprocess.run(
        command, env=_environment(Path()), capture_output=True, text=True, errors="replace",
        timeout=TIMEOUT, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    return (done.stdout.splitlines() or [""])[0].strip()


def _release(tool: str) -> str:
    """The number of a compiler's release, "" if it tells none: of "cc (Debian 12.2.0-14) 12.2.0" the last."""
    with suppress(OSError, subprocess.TimeoutExpired):
        line = _first_line([tool, "version" if _is_zig(tool) else "--version"])
        return next(iter(re.findall(r"\d+\.[\d.]*\d", re.sub(r"\(.*?\)", "", line))), "")
    return ""


def _is_zig(tool: str) -> bool:
    return Path(tool).stem == "zig"


def _on_path(names: tuple[str, ...]) -> tuple[str, ...]:
    return next(((path,) for path in map(shutil.which, names) if path), ())


def _zig() -> tuple[str, ...]:
    spec = importlib.util.find_spec("ziglang")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        for path in (Path(place) / "zig", Path(place) / "zig.exe"):
            if path.is_file():
                return (str(path), "cc")
    return ()


def _begin(folder: Path, output: str, manifest: Manifest) -> None:
    """Remove an older image, and keep of what the new one is built."""
    image = folder / output
    try:
        image.parent.mkdir(parents=True, exist_ok=True)
        image.unlink(missing_ok=True)
        built_of.write(folder, image, manifest.files.keys() - {"README.md"})
    except OSError as e:
        raise BoardError(f"cannot write to {image}: {e.strerror}", "make room, or copy the folder") from None


def _run(command: list[str], folder: Path, output: str, board: Board) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, env=_environment(folder), capture_output=True, text=True, errors="replace",
            timeout=TIMEOUT, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise BoardError(f"{command[0]} ran for {TIMEOUT} s", "try again on a less busy machine") from None
    except OSError as e:
        raise BoardError(f"cannot run {command[0]} in {folder}: {e.strerror}", "run lnp doctor") from None
    if done.returncode == 0:
        return
    (folder / output).unlink(missing_ok=True)
    _refuse_overflow(done.stderr, board)
    if os.strerror(errno.ENOSPC) in done.stderr:
        raise BoardError(f"no space left on the disk of {folder} or of the compiler's files", "make room")
    release = _release(command[0])
    try_next = OF_BOARD if ASSERTED.search(done.stderr) else COMPILE
    if release and _is_zig(command[0]) and (needs := wanted("ziglang", release)):
        try_next = f"lnp needs ziglang {needs}: {upgrade('ziglang')}"
    raise tool_failed(folder, command[0], done.returncode, done.stderr, try_next, release=release)


def _refuse_overflow(text: str, board: Board) -> None:
    found = OVERFLOW.findall(text)
    if not found:
        return
    region = found[0][0]  # several sections may overflow it; the largest overflow counts
    excess = max(int(bytes_) for name, bytes_ in found if name == region)
    what, size = ("flash", board.flash.size) if region == "FLASH" else ("RAM", board.ram.size)
    raise DoesNotFit(
        f"needs {size + excess} B {what}, {board.name} has {size}",
        "prune more, train fewer neurons, or choose another --board (lnp boards lists them)",
    )


def _environment(folder: Path) -> dict[str, str]:
    """Only what compilers need: the caller's CFLAGS or language must not change the result."""
    kept = {key: os.environ[key] for key in KEPT if key in os.environ}
    cache = _zig_cache() or str((folder / BUILD / "zig-cache").resolve())
    return kept | {"LC_ALL": "C", "ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}


def _zig_cache() -> str:
    """The cache for all folders: zig builds its own parts once. Empty if it is not writeable."""
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        place = Path(base).resolve() / "lnp-edge" / "zig"
        place.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return ""
    return str(place) if os.access(place, os.W_OK) else ""
