"""A line that damages: bytes lost, doubled, flipped, inserted, late or overwritten, and frames out of order.

Seeded, and drawn by PCG64, which is not linear over GF(2): a CRC is, and a generator that is linear too, such as
xorshift or the Mersenne Twister, makes damage that a CRC cannot see more or less often than chance would.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from lnp_edge.runtime.link import Port

# A kind of fault, and how often it is drawn among 20.
KINDS = {"drop": 4, "double": 4, "flip": 4, "insert": 4, "burst": 2, "delay": 1, "hold": 1}
BURST = 32  # bytes at most
DELAY = 8  # reads at most until what is delayed goes on, and what follows with it
HOLD = 8  # chunks at most that overtake one that is held back
DRAWN = 4096  # faults that are drawn at once


class FaultyPort:
    """A Port with faults in both directions: one begins at each byte with probability `rate`.

    count : of the faults so far by kind

    Raises nothing of its own. With rate 0, the port behind it is unchanged.
    """

    def __init__(self, port: Port, rate: float, seed: int):
        self.port = port
        self.count: Counter[str] = Counter()
        self._there, self._here = (Damage(rate, [seed, way], self.count) for way in (0, 1))
        self._out = bytearray()

    def __getattr__(self, name: str):
        """Whatever else the port has: its deadline, its clock."""
        return getattr(self.port, name)

    @property
    def timeout(self) -> float | None:
        return self.port.timeout

    @timeout.setter
    def timeout(self, seconds: float | None) -> None:
        self.port.timeout = seconds

    @property
    def baudrate(self) -> int:
        return self.port.baudrate  # type: ignore[attr-defined]

    @baudrate.setter
    def baudrate(self, baud: int) -> None:
        self.port.baudrate = baud  # type: ignore[attr-defined]

    @property
    def in_waiting(self) -> int:
        return len(self._out) + self.port.in_waiting

    def write(self, data: bytes) -> int:
        if found := self._there.through(bytes(data)):
            self.port.write(found)
        return len(data)

    def read(self, size: int = 1) -> bytes:
        if late := self._there.waited():
            self.port.write(late)
        self._out += self._here.waited()
        if not self._out:
            self._out += self._here.through(self.port.read(size))
        found = bytes(self._out[:size])
        del self._out[:size]
        return found

    def close(self) -> None:
        self.port.close()


class Damage:
    """One direction."""

    def __init__(self, rate: float, seed: list[int], count: Counter[str]):
        self._rate, self._rng, self._count = rate, np.random.default_rng(seed), count
        self._drawn: list[tuple[int, str]] = []  # bytes until the next fault, and its kind
        self._left = self._gap()
        self._burst = 0  # bytes still to overwrite
        self._delayed, self._reads = bytearray(), 0
        self._held: list[tuple[int, bytes]] = []  # chunks that may still overtake each

    def _gap(self) -> int:
        """Bytes until the next fault."""
        if self._rate <= 0:
            return 2**62
        if not self._drawn:
            kinds = self._rng.choice(list(KINDS), DRAWN, p=np.array(list(KINDS.values())) / sum(KINDS.values()))
            gaps = self._rng.geometric(self._rate, DRAWN)
            self._drawn = list(zip(gaps.tolist(), kinds.tolist(), strict=True))
        return self._drawn[-1][0]

    def _up_to(self, most: int) -> int:
        return 1 + int(self._rng.integers(most))

    def through(self, data: bytes) -> bytes:
        """What arrives of it now, with what arrives late."""
        if not data:
            return b""
        late = [chunk for overtakes, chunk in self._held if overtakes == 0]
        self._held = [(overtakes - 1, chunk) for overtakes, chunk in self._held if overtakes]
        found, hold = self._damaged(data)
        if hold:
            self._held.append((self._up_to(HOLD), found))
            found = b""
        found = b"".join([*late, found])
        if self._reads:
            self._delayed += found
            return b""
        return found

    def _damaged(self, data: bytes) -> tuple[bytes, bool]:
        """The bytes after damage, and whether they are held back."""
        if self._left > len(data) and not self._burst:
            self._left -= len(data)
            return data, False
        found, hold = bytearray(), False
        for byte in data:
            self._left -= 1
            kind = ""
            if self._left == 0:
                kind = self._drawn.pop()[1]
                self._count[kind] += 1
                self._left = self._gap()
            if self._burst:
                self._burst -= 1
                byte = int(self._rng.integers(256))
            if kind == "burst":
                self._burst = self._up_to(BURST)
            elif kind == "delay":
                self._reads = self._up_to(DELAY)
            elif kind == "hold":
                hold = True
            elif kind == "insert":
                found.append(int(self._rng.integers(256)))
            if kind != "drop":
                found.append(byte ^ (1 << int(self._rng.integers(8))) if kind == "flip" else byte)
            if kind == "double":
                found.append(byte)
        return bytes(found), hold

    def waited(self) -> bytes:
        """A read passes: what was delayed and goes on now."""
        if not self._reads:
            return b""
        self._reads -= 1
        if self._reads:
            return b""
        found, self._delayed = bytes(self._delayed), bytearray()
        return found
