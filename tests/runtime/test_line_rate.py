"""How much of a serial line's time carries requests: each byte takes its time, in virtual seconds."""

import pytest
from fakes import FakePort
from tiny import tiny_model

from lnp_edge.runtime.device import Device
from lnp_edge.runtime.verify import stimulus, verify

BAUD = 115_200


class Timed(FakePort):
    """Ten bits a byte each way, `delay` s from a byte's end to where it is read, `step` s of the processor a step."""

    def __init__(self, model, step=0.0, delay=0.0, baud=BAUD):
        super().__init__(model)
        self.baudrate, self.step, self.delay = baud, step, delay
        self.free_up = self.free_down = self.busy = 0.0  # when each way is free; s that the way up was not
        self.coming = []  # (when a byte can be read, it)

    def write(self, data):
        takes = 10 * len(data) / self.baudrate
        self.free_up = max(self.now, self.free_up) + takes
        self.busy += takes
        before, t = bytes(self._out), self.net.t
        self._out.clear()
        now = self.now
        super().write(data)
        self.now = now
        begin = self.free_up + self.delay + self.step * max(0, self.net.t - t)
        for byte in self._out:
            self.free_down = max(begin, self.free_down) + 10 / self.baudrate
            self.coming.append((self.free_down + self.delay, byte))
        self._out[:] = before

    @property
    def in_waiting(self):
        return sum(when <= self.now for when, _ in self.coming)

    def read(self, size=1):
        until = self.now + self.timeout
        self.now = min(until, max(self.now, self.coming[0][0])) if self.coming else until
        size = min(size, self.in_waiting)
        found = bytes(byte for _, byte in self.coming[:size])
        del self.coming[:size]
        return found


@pytest.mark.parametrize(("n_in", "step", "delay"), [
    (3, 0.0, 0.0),
    (6, 0.0, 0.0),
    (6, 20e-6, 0.5e-3),  # a network of some hundred synapses, and a USB adapter that waits half a millisecond each way
])  # fmt: skip
def test_85_per_cent_of_the_time_the_line_carries_requests(n_in, step, delay):
    model = tiny_model(n_in=n_in)
    port = Timed(model, step, delay)
    device = Device(port, model)
    begin, busy = port.now, port.busy
    assert verify(model, device, stimulus(model, 2000, 1)).ok
    assert device.traffic.sent_again == 0
    assert port.busy - busy >= 0.85 * (port.now - begin)
