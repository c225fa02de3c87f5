"""Of which sources an image was built: what cksum of POSIX prints of each, in a file beside the image.

The Makefile has cksum write it; lnp build writes the same without. Times of files say nothing: a copied folder has new
ones, and lnp generate writes files anew that are the same.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from pathlib import Path

from lnp_edge.base.errors import BoardError
from lnp_edge.base.files import read_bounded

ENDING = ".sources"
LINE = re.compile(r"(\d+ \d+) (.+)")  # sum and bytes, name
MOST_BYTES = 2**20  # of the file
MOST_SOURCE = 2**30  # bytes
AGAIN = "generate the folder again: lnp generate"
MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def cksum(data: bytes) -> str:
    """The sum and the length. The sum is zlib's CRC-32 of mirrored bits, begun with 0, also over the length."""
    length = len(data).to_bytes((len(data).bit_length() + 7) // 8, "little")
    mirrored = zlib.crc32((data + length).translate(MIRRORED), 0xFFFF_FFFF)
    return f"{int(f'{mirrored:032b}'[::-1], 2)} {len(data)}"


def write(folder: Path, image: Path, paths: Iterable[str]) -> None:
    """Keep of which files of the folder an image is built; before it is, for they may change meanwhile.

    Raises BoardError if one cannot be read, OSError if this cannot be kept.
    """
    lines = (f"{cksum(_read(folder / path, AGAIN))} {path}\n" for path in sorted(paths))
    kept = image.with_suffix(ENDING)
    kept.unlink(missing_ok=True)  # it may be a link
    kept.write_bytes("".join(lines).encode())


def check(folder: Path, image: Path, hint: str) -> None:
    """Raise BoardError unless all sources in the folder are those that the image was built of."""
    kept = image.with_suffix(ENDING)
    lines = read_bounded(kept, MOST_BYTES, BoardError, hint).decode(errors="replace").splitlines()
    found = [match.groups() for match in map(LINE.fullmatch, lines) if match]
    if len(found) != len(lines) or not found:
        raise BoardError(f"{kept} does not say of which sources the image was built", hint)
    for was, name in found:
        if cksum(_read(folder / name, hint)) != was:
            raise BoardError(f"{image} was built of other sources than {folder} holds: {name} differs", hint)


def _read(path: Path, hint: str) -> bytes:
    return read_bounded(path, MOST_SOURCE, BoardError, hint)
