"""A stand-in for the boot ROM of an STM32F401 at a serial port: ST's AN3155, on a pty."""

import os

from rom_line import RomLine

ACK, NACK, INIT = b"\x79", b"\x1f", b"\x7f"
GET, VERSION, GET_ID, READ, GO, WRITE, ERASE = 0x00, 0x01, 0x02, 0x11, 0x21, 0x31, 0x44  # AN3155 3.1 to 3.8
ORIGIN, SIZE, PRODUCT = 0x0800_0000, 0x8_0000, 0x0433  # AN2606: STM32F401xD/E


class BootRom(RomLine):
    """flash : what the chip holds;  started : the address that a GO named

    program : the program that then runs at the port
    dies_after : of so many commands, as the next comes, the power fails: no byte comes any more
    product : the number of the chip
    wrong_at : one bit of what is written there is another
    """

    def __init__(self, program=None, dies_after=None, wrong_at=None, product=PRODUCT):
        self.flash, self.started, self.commands = bytearray(b"\xa5" * SIZE), None, []
        self._product = product
        self._program, self._dies_after, self._wrong_at = program, dies_after, wrong_at
        super().__init__()

    def _take(self, count):
        found = b""
        while len(found) < count:
            found += os.read(self._line, count - len(found))
        return found

    def _checked(self, count):
        """So many bytes and their checksum."""
        data, (check,) = self._take(count), self._take(1)
        sum_ = 0 if count > 1 else 0xFF
        for byte in data:
            sum_ ^= byte
        return data if sum_ == check else None

    def _say(self, data):
        os.write(self._line, data)

    def _address(self):
        found = self._checked(4)
        self._say(ACK if found else NACK)
        return int.from_bytes(found, "big")

    def _serve(self):
        try:
            while self._take(1) != INIT:
                pass
            self._say(ACK)
            while self.started is None:
                command = self._checked(1)
                if command is None:
                    self._say(NACK)
                    continue
                self._say(ACK)
                if self._dies_after is not None and len(self.commands) >= self._dies_after:
                    return
                self.commands.append(command[0])
                self._answer(command[0])
        except OSError:
            return

    def _answer(self, command):
        if command == GET:
            known = bytes([0x31, GET, VERSION, GET_ID, READ, GO, WRITE, ERASE])
            self._say(bytes([len(known) - 1]) + known + ACK)
        elif command == VERSION:
            self._say(b"\x31\0\0" + ACK)
        elif command == GET_ID:
            self._say(b"\x01" + self._product.to_bytes(2, "big") + ACK)
        elif command == READ:
            at = self._address() - ORIGIN
            count = self._checked(1)[0] + 1
            self._say(ACK + bytes(self.flash[at : at + count]))
        elif command == GO:
            self.started = self._address()
            if self._program:
                self._start(self._program)
        elif command == WRITE:
            at = self._address() - ORIGIN
            (count,) = self._take(1)
            data, check = self._take(count + 1), self._take(1)[0]
            for byte in data:
                check ^= byte
            assert check == count
            self.flash[at : at + len(data)] = data
            if self._wrong_at is not None and at <= self._wrong_at < at + len(data):
                self.flash[self._wrong_at] ^= 1
            self._say(ACK)
        elif command == ERASE:
            pages = int.from_bytes(self._take(2), "big")
            if pages < 0xFFF0:
                self._take(2 * (pages + 1))
            self._take(1)
            self.flash[:] = b"\xff" * SIZE
            self._say(ACK)
