"""What ports of emulators in this process have in common: bytes each way, and a run when none is left to read."""

from __future__ import annotations


class InProcess:
    """Implements runtime.link.Port, but for `_run`: it runs the firmware until it waits for what is not there."""

    emulated = True

    def __init__(self) -> None:
        self.timeout: float | None = None
        self._to_device, self._from_device = bytearray(), bytearray()

    def _run(self) -> None:
        raise NotImplementedError

    @property
    def in_waiting(self) -> int:
        return len(self._from_device)

    def write(self, data: bytes) -> int:
        self._to_device += data
        return len(data)

    def read(self, size: int = 1) -> bytes:
        if not self._from_device:
            self._run()
        found = bytes(self._from_device[:size])
        del self._from_device[:size]
        return found

    def close(self) -> None:
        self._from_device.clear()
