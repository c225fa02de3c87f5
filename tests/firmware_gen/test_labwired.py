"""The image of nucleo-g071rb in PyPI's labwired, whose map of the chip others wrote.

An address where nothing is ends the image there. Its USART works whether or not it is enabled, at any rate and pin.
"""

import pytest
from conftest import need
from test_build import assert_runs_like_the_oracle

from lnp_edge import boards
from lnp_edge.runtime.in_process import InProcess

pytestmark = pytest.mark.slow

PEND = 0xE000_E200  # NVIC_ISPR0; Armv6-M ARM B3.4.5


class Labwired(InProcess):
    """Its USART has no interrupt for a byte that comes, so that this is raised here. Time is the chip's."""

    deadline = 0.3  # s of the chip

    def __init__(self, board, image, chip):
        import labwired

        super().__init__()
        self._sim, self._irq = labwired.Sim(image, chip=chip), board.registers["irq"]
        self._sim.run_for("12ms")  # it hears nothing until it has greeted
        self._from_device += self._sim.read_uart_bytes()

    def clock(self):
        return self._sim.time

    def _run(self):
        end = self._sim.time + (self.timeout or 0)
        while self._to_device or (not self._from_device and self._sim.time < end):
            if self._to_device:
                self._sim.send_bytes(self._to_device[:1])
                self._sim.write_u32(PEND, 1 << self._irq)
                del self._to_device[:1]
            self._sim.run_for("20us")
            self._from_device += self._sim.read_uart_bytes()


def test_the_image_of_a_nucleo_runs_in_an_emulator_of_its_chip(firmware):
    need("labwired")
    board = boards.get("nucleo-g071rb")
    assert_runs_like_the_oracle(Labwired(board, firmware(board.name), "stm32g071"), steps=20)
