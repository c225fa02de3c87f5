"""A stand-in for an ESP32-C3 in download mode, on a pty: as if esptool had loaded its own program there already.

The protocol is that of the page "Serial Protocol" of esptool's documentation: requests and answers in SLIP.
"""

import hashlib
import os
import struct
import zlib

from rom_line import RomLine

END, ESCAPE = b"\xc0", b"\xdb"
SYNC, READ, SECURITY, BEGIN, DATA, FINISH, MD5 = 0x08, 0x0A, 0x14, 0x10, 0x11, 0x12, 0x13
SPI_RESULT = 0x6000_2058  # where esptool reads what the flash says of itself
FLASH_ID, SIZE = 0x16_40C8, 0x40_0000  # 4 MiB


class EspRom(RomLine):
    """flash : what the chip holds;  chip : its number, 5 is a C3

    program : what runs at the port once the flash is finished and compared, in either order: esptool 5.0 compares first
    dies_after : of so many blocks, the power fails;  wrong_at : one bit of what is written there is another
    """

    def __init__(self, chip=5, program=None, dies_after=None, wrong_at=None):
        self.flash, self.blocks, self._left = bytearray(b"\xa5" * SIZE), 0, {FINISH, MD5}
        self._chip, self._dies_after, self._wrong_at = chip, dies_after, wrong_at
        self._program, self._unpack, self._at = program, None, 0
        super().__init__()

    def _packets(self):
        found = b""
        while True:
            found += os.read(self._line, 4096)
            *whole, found = found.split(END)
            for packet in whole:
                if packet:
                    yield packet.replace(ESCAPE + b"\xdc", END).replace(ESCAPE + b"\xdd", ESCAPE)

    def _say(self, packet):
        packet = packet.replace(ESCAPE, ESCAPE + b"\xdd").replace(END, ESCAPE + b"\xdc")
        data = END + packet + END
        while data:
            data = data[os.write(self._line, data) :]

    def _serve(self):
        try:
            for packet in self._packets():
                _, command, length, _ = struct.unpack_from("<BBHI", packet)
                if self._dies_after is not None and self.blocks >= self._dies_after:
                    return
                value, more = self._done(command, packet[8 : 8 + length])
                for _ in range(8 if command == SYNC else 1):
                    self._say(struct.pack("<BBHI", 1, command, len(more) + 2, value) + more + bytes(2))
                self._left.discard(command)
                if not self._left and self._program:
                    self._start(self._program)
                    return
        except OSError:
            return

    def _done(self, command, data):
        words = struct.unpack_from(f"<{len(data) // 4}I", data)
        if command == READ:
            return {SPI_RESULT: FLASH_ID}.get(words[0], 0), b""
        if command == SECURITY:
            return 0, struct.pack("<IB7sII", 0, 0, bytes(7), self._chip, 0)
        if command == BEGIN:
            self._unpack, self._at = zlib.decompressobj(), words[3]
        if command == DATA:
            self._put(self._unpack.decompress(data[16 : 16 + words[0]]))
            self.blocks += 1
        if command == MD5:
            return 0, hashlib.md5(self.flash[words[0] : words[0] + words[1]]).digest()
        return 0, b""

    def _put(self, data):
        self.flash[self._at : self._at + len(data)] = data
        if self._wrong_at is not None and self._at <= self._wrong_at < self._at + len(data):
            self.flash[self._wrong_at] ^= 1
        self._at += len(data)
