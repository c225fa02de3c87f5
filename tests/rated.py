"""A line on which both ends must have one rate: bits as a UART sends and samples them, in virtual time."""

import numpy as np

from lnp_edge.runtime.link import BAUD


def is_one(sent, own):
    """Whether two rates are near enough that a UART samples each bit of a byte within that bit."""
    return abs(sent / own - 1) < 0.025


def heard(data, sent, own):
    """The bytes that a UART of rate `own` takes what was sent at another rate for: it samples the middles of bits.

    The line is high before and after. A stop bit that is low is taken for one: most UARTs give the byte all the same.
    """
    if is_one(sent, own):
        return bytes(data)
    bits = b"\1" + b"".join(bytes([0, *(byte >> k & 1 for k in range(8)), 1]) for byte in data)
    ratio, at, found = sent / own, 0, bytearray()  # at, ratio: in bits of the sender
    while (fall := bits.find(b"\1\0", at)) >= 0:
        places = [int(fall + 1 + ratio * (k + 0.5)) for k in range(10)]
        samples = [bits[p] if p < len(bits) else 1 for p in places]
        at = fall + 1
        if samples[0] == 0:  # else the start was too short to be one
            found.append(sum(bit << k for k, bit in enumerate(samples[1:9])))
            at = max(at, places[9])
    return bytes(found)


class Rated:
    """The host's port to a device. device.own_baud is the rate of its end; it is asked before and after each piece.

    most : the highest rate that the line carries; what is faster arrives as noise
    """

    PIECE = 64  # bytes, within which a device does not change its rate

    def __init__(self, device, most=10**7):
        self.device, self.most, self.baudrate = device, most, BAUD
        self.timeout, self.now, self._out, device.timeout = None, 0.0, bytearray(), 0.0
        self.writes, self.dies_at, self.drops = 0, None, frozenset()
        self._rng = np.random.default_rng(5)

    def clock(self):
        return self.now

    @property
    def in_waiting(self):
        return len(self._out)

    def _carried(self, data, sent, own):
        if max(sent, own) > self.most:
            data = self._rng.integers(0, 256, len(data), np.uint8).tobytes()
        return heard(data, sent, own)

    def write(self, data):
        """A host is killed at a write; a frame that is dropped is dropped whole."""
        self.writes += 1
        if self.writes == self.dies_at:
            raise KeyboardInterrupt
        self.now += 10 * len(data) / self.baudrate
        if self.writes in self.drops:
            return len(data)
        own = self.device.own_baud
        if is_one(own, self.baudrate) and self.baudrate <= self.most:
            self._pass(bytes(data))
            return len(data)
        for at in range(0, len(data), self.PIECE):
            self._pass(self._carried(data[at : at + self.PIECE], self.baudrate, self.device.own_baud))
        return len(data)

    def _pass(self, data):
        before, empty = self.device.own_baud, 0
        self.device.write(data)
        while empty < 2:  # an emulator may stop before it answers
            found = self.device.read(65536)
            empty = 0 if found else empty + 1
            if -self.writes not in self.drops:
                self._out += self._carried(found, getattr(self.device, "spoke_at", before), self.baudrate)

    def read(self, size=1):
        self.now += 10 * min(size, len(self._out)) / self.baudrate if self._out else self.timeout
        found = bytes(self._out[:size])
        del self._out[:size]
        return found

    def close(self):
        pass
