"""The rate of the line: another one once both agree, and the first again when either has lost it.

A device goes back by itself once it has heard LOST_BYTES and no frame among them: so a host that knows nothing calls
it. docs/link.md has all of it.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence

from lnp_edge.base.errors import LinkError
from lnp_edge.runtime.link import Link, Lost
from lnp_edge.spec.protocol import REQUESTS

HIGHER = (921_600, 460_800, 230_400)  # what "auto" tries
TEST = bytes(0x55 * k % 256 for k in range(64))  # edges of all lengths, and zeros
TRIES = 8  # of a request for a rate, and of the frame that tests it
ROUNDS = 3  # of both, where no answer came
NONE = "the board has none within 2 %"
LOSSES = 3  # in a row, without a restart of the device, until the line stays at its first rate


class Rate:
    """wanted : rates in Bd, the best first;  most : bytes of the device's longest payload

    told : of each that was asked for, what became of it
    """

    def __init__(self, link: Link, wanted: Sequence[int], most: int):
        self._link, self._wanted, self._most = link, wanted, most
        self._losses, self.told = 0, dict[int, str]()
        self._open = False  # whether agreeing, or seeking the device, has begun and not ended: the line may be cut then

    def up(self) -> None:
        """To the best that both have and the line carries. Raises Lost and LinkError as requests do."""
        if self._link.agreed or self._losses >= LOSSES:
            return
        for baud in self._wanted:
            self._open = True
            self.told[baud] = self._agree(baud)
            self._open = False
            if self._link.agreed:
                return

    def down(self) -> None:
        """To the first, at the end. A device that does not hear it is called by the next host."""
        if not self._link.agreed:
            return
        self._link.agreed = False
        try:
            self._asked(self._link.base)
            self._link.set_baud(self._link.base)
        except (LinkError, Lost, OSError):
            pass

    def lost(self, restarted: bool) -> None:
        """The device was found at the first rate. restarted : which told why"""
        self._losses = 0 if restarted else self._losses + 1
        self._link.traffic.rates_lost += 1

    def find(self) -> bool:
        """Greet a device that may be at the rate agreed on, or at the first: whether it is at the first one again."""
        link = self._link
        if not (link.agreed or self._open):
            return False
        agreed, link.agreed, self._open = link.agreed, False, True
        if agreed and link.answer(link.request("hello"), 1) is not None:
            link.agreed = True
        else:
            self._first()
        self._open = False
        return not link.agreed

    def _first(self) -> None:
        """Both to the first rate. Raises Lost and LinkError as requests do."""
        try:
            self._link.set_baud(self._link.base)
        except OSError as e:  # it had that rate: the port is gone
            raise Lost("port", self._link.gone("lost", e)) from None
        self._link.greet(self._most, 1)

    def _agree(self, baud: int) -> str:
        link = self._link
        for _ in range(ROUNDS):
            told = self._asked(baud)
            if told == 0:
                return NONE
            # Without a reply it may have changed all the same.
            try:
                link.set_baud(baud)
            except (OSError, ValueError) as e:
                self._first()
                cannot = isinstance(e, ValueError) or e.errno == errno.EINVAL
                return "this computer's port cannot have it" if cannot else f"this computer's port fails: {e}"
            if self._asked(baud, TEST) is not None:
                link.agreed = baud != link.base
                return "used" if told is None else f"used, {told} on the board"
            self._first()
            if told is not None:
                break
        return "the line does not carry it"

    def _asked(self, baud: int, test: bytes = b"") -> int | None:
        """What a device answers to a request for a rate; None if the tries have no right answer."""
        request = REQUESTS["rate"].struct.pack(baud) + test
        raw = self._link.answer(self._link.request("rate", request, len(test)), TRIES)
        return int.from_bytes(raw[:4], "little") if raw is not None and raw[4:] == test else None
