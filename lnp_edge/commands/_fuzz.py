"""Builds and runs the fuzzer of what takes bytes from outside: see firmware_gen/csrc/fuzz_main.c.in."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from lnp_edge import boards
from lnp_edge.base.errors import BoardError, ConfigError
from lnp_edge.base.files import read_bounded
from lnp_edge.firmware_gen import commands, link
from lnp_edge.firmware_gen.build import compiler
from lnp_edge.firmware_gen.generate import generate
from lnp_edge.firmware_gen.network import CSRC
from lnp_edge.spec import protocol, saved
from lnp_edge.spec.model import QuantizedModel
from lnp_edge.spec.protocol import REQUESTS, Frame

TARGETS = ("cobs", "link", "load")
AT_ONCE = 20_000  # inputs of one run of the program
TIMEOUT = 600.0  # s, of one run
# The buffers in lnp_link.h, each with what stands before it in the harness: what leaves one must not end in the next.
BUFFERS = {
    "    uint8_t reply[LNP_FRAME_BYTES];": "gap_before",
    "    uint8_t request[LNP_FRAME_BYTES];": "gap_between",
    "} lnp_link_t;": "gap_after",
}
MOST_CORPUS = 2**20  # bytes of a file


@dataclass(frozen=True)
class Finding:
    """An input that is wrong: what a sanitizer or the harness said, and the bytes."""

    target: str
    seed: int
    number: int
    what: str
    input: str

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def build(model: QuantizedModel, folder: Path, change: Callable[[str, str], str] = lambda name, text: text) -> Path:
    """The program. change(name, text) gives each file's text, for tests."""
    files = generate(model, boards.get("host"))
    for text, gap in BUFFERS.items():
        assert files["lnp_link.h"].count(text) == 1
        files["lnp_link.h"] = files["lnp_link.h"].replace(text, f"_Alignas(8) uint8_t {gap}[64];\n{text}")
    files["main.c"] = (CSRC / "fuzz_main.c.in").read_text("utf-8")
    del files["posix.c"]
    for name, text in files.items():
        (folder / name).write_text(change(name, text), "utf-8")
    sources = sorted(name for name in files if name.endswith(".c"))
    done = subprocess.run(
        [*compiler("host"), "-std=c11", "-O1", "-w", commands.KEEP_NULL, *commands.SANITIZE, "-o", "fuzz", *sources],
        cwd=folder, capture_output=True, text=True, errors="replace", timeout=TIMEOUT, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if done.returncode:
        raise BoardError(f"the compiler fails on the fuzzer: {done.stderr[:200]}", "it needs gcc with its sanitizers")
    return folder / "fuzz"


def corpus(model: QuantizedModel, target: str, kept: list[bytes]) -> list[bytes]:
    """Inputs to begin with: those that are kept, then some of every kind there is."""
    if target == "cobs":
        own = [
            bytes([255]) + protocol.cobs_encode(bytes(range(n % 256)) * 2) + b"\0" for n in (1, 5, 127, 253, 254, 255)
        ]
        return [*kept, *own, b"\x40" + b"\xff" * 300, b"\x05\x01\x01\x01\x00\x02\x09"]
    if target == "link":
        payloads = {name: bytes(message.struct.size) for name, message in REQUESTS.items()}
        row = bytes(range(1, 1 + 2 * model.n_in))
        payloads["steps"] = payloads["steps"][:-2] + b"\2\0" + 3 * row
        payloads["state"] = struct.pack("<IIIH", 0, 0, 0, 9)
        payloads["read"] = struct.pack("<HIH", 0, 0, 200)
        payloads["save"] = struct.pack("<IIIIH", 0, 0, saved.size(model), 0, 100)
        payloads["fill"] += saved.pack(model, 1, 2, np.zeros(model.state_words, np.uint32))[:200]
        payloads["push"] += 20 * row[: 2 * len(model.channels)]
        each = {
            name: bytes([6 if name not in ("reset", "load") else 2, REQUESTS[name].type, len(p) % 256]) + p[:255]
            for name, p in payloads.items()
        }
        frame = protocol.encode(Frame(REQUESTS["tables"].type, 7, 3, b""))
        raw = bytes([1, 0, len(frame)]) + frame
        long = protocol.encode(
            Frame(REQUESTS["tables"].type, 7, 3, b"\1" * (link.max_payload(model, boards.get("host")) + 40))
        )
        parts = b"".join(
            bytes([1, 0, len(part)]) + part for at in range(0, len(long), 255) if (part := long[at : at + 255])
        )
        return [*kept, *each.values(), raw, parts, b"".join(each.values()), each["steps"] + each["save"] + each["push"]]
    words = range(model.state_words)
    all_at = [bytes([flags]) + b"".join(struct.pack("<HBI", w, kind, 0) for w in words)[: 7 * 290]
              for flags in (0, 2, 4) for kind in (1, 2, 6)]  # fmt: skip
    one = [b"\0" + struct.pack("<HBI", w, kind, 2**31 - 1) for w in (0, len(words) - 1) for kind in range(9)]
    return [*kept, *all_at, *one, b"\1" + struct.pack("<HBI", 3, 1, 0)]


def read(path: Path) -> dict[str, list[bytes]]:
    """A kept corpus: lines of a target's name and the bytes of an input in hexadecimal; # begins a comment."""
    found: dict[str, list[bytes]] = {target: [] for target in TARGETS}
    data = read_bounded(path, MOST_CORPUS, ConfigError, "a corpus is lines of text, at most 1 MiB")
    for number, line in enumerate(data.decode("utf-8-sig", "replace").splitlines(), 1):
        name, _, text = line.partition("#")[0].strip().partition(" ")
        if not name:
            continue
        try:
            found[name].append(bytes.fromhex(text))
        except (KeyError, ValueError):
            hint = f"a line is one of {', '.join(TARGETS)} and bytes in hexadecimal"
            raise ConfigError(f"line {number} of {path} is {line[:40]!r}", hint) from None
    return found


def run(
    program: Path, model: QuantizedModel, target: str, inputs: list[bytes], seed: int, first: int, count: int
) -> Finding | None:
    """Run inputs number first to first + count - 1; what is wrong with the first one that is, if any is."""

    def tried(first: int, count: int, shown: bool = False) -> tuple[str, str]:
        """What is wrong, "" if nothing; and the input that was told last."""
        head = struct.pack("<IIIII", TARGETS.index(target), seed, first, count, shown)
        limits = np.abs(saved.limits(model)).astype("<u4").tobytes()
        entries = b"".join(len(one).to_bytes(4, "little") + one for one in inputs)
        given = head + limits + len(inputs).to_bytes(4, "little") + entries
        try:
            done = subprocess.run([program], input=given, capture_output=True, timeout=TIMEOUT, check=False)
        except subprocess.TimeoutExpired:
            return f"an input from {first} on does not end within {TIMEOUT:g} s", ""
        out, err = (text.decode("utf-8", "replace") for text in (done.stdout, done.stderr))
        told = [line for line in out.splitlines() if line.startswith("input ")]
        if done.returncode == 0 and out.endswith(f"done {count}\n"):
            return "", ""
        wrong = [line for line in (out + err).splitlines() if "wrong: " in line or "error: " in line.lower()]
        return (wrong or [f"it ends with {done.returncode}"])[0][:200], told[-1] if told else ""

    if not tried(first, count)[0]:
        return None
    low, high = 0, count  # so many inputs are right, so many are not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if tried(first, middle)[0] else (middle, high)
    number = first + high - 1
    what, told = tried(number, 1, shown=True)
    return Finding(target, seed, number, what, told.partition(":")[2].strip())
