"""The line of a stand-in for a boot ROM: a pty, served by a thread."""

import os
import subprocess
import threading
import tty


class RomLine:
    """port : its other end, for a flash tool. A stand-in answers in _serve, which ends when the line does."""

    def __init__(self):
        self._running = None
        self._line, self._other = os.openpty()
        tty.setraw(self._other)
        self.port = os.ttyname(self._other)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _start(self, program):
        """Run the program that was flashed, at the port."""
        self._running = subprocess.Popen([program], stdin=self._line, stdout=self._line)

    def close(self):
        if self._running:
            self._running.kill()
            self._running.wait()
        os.close(self._other)  # the last end: what waits for bytes gets an error
        self._thread.join(10)
        os.close(self._line)
