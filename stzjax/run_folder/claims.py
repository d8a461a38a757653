"""Claims: an item is held by one process at a time, and free again when that process ends.

Claims are POSIX locks on bytes of one file in the run folder, a byte for each item. The system
drops them with the process, however it ends, and network file systems pass them between hosts. So
the items of a host that dies are free again.
"""

import errno
import fcntl
import hashlib
import logging
import os
import threading
from pathlib import Path

_LOG = logging.getLogger(__name__)

_FILE = ".claims"
_PRESENT = 0
"""Place of the byte that every process shares while it works in the folder."""

_FIRST, _PLACES = 1, 2**61


class Claims:
    """The claims of this process in one folder; its threads exclude each other as well."""

    def __init__(self, folder: Path):
        """Open the file of claims.

        Raises:
          OSError: the folder cannot be written.
        """
        self._file = os.open(folder / _FILE, os.O_RDWR | os.O_CREAT, 0o644)
        self._held: set[int] = set()
        self._mutex = threading.Lock()

    def take(self, item: str) -> bool:
        """Claim an item; False if another process or thread has it."""
        place = _place(item)
        with self._mutex:
            if place in self._held or not self._lock(place, fcntl.LOCK_EX):
                return False
            self._held.add(place)
            return True

    def release(self, item: str) -> None:
        """Release an item."""
        place = _place(item)
        with self._mutex:
            self._held.discard(place)
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, place)

    def alone(self) -> bool:
        """True if no other process is at work in the folder; then none can come until `join`."""
        return self._lock(_PRESENT, fcntl.LOCK_EX)

    def join(self) -> None:
        """Be at work in the folder, beside others, until the process ends."""
        self._lock(_PRESENT, fcntl.LOCK_SH, wait=True)

    def _lock(self, place: int, kind: int, wait: bool = False) -> bool:
        try:
            fcntl.lockf(self._file, kind if wait else kind | fcntl.LOCK_NB, 1, place)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                return False
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            _LOG.warning("the file system of the run knows no locks: run one process at a time")
        return True


def _place(item: str) -> int:
    digest = hashlib.sha256(item.encode()).digest()
    return _FIRST + int.from_bytes(digest[:8], "big") % _PLACES


_OPEN: dict[tuple[int, int], Claims] = {}
_OPENING = threading.Lock()


def of(folder: Path) -> Claims:
    """The claims of this process in a folder, made once: closing the file would free them all."""
    with _OPENING:
        status = os.stat(folder)
        key = status.st_dev, status.st_ino
        if key not in _OPEN or not (folder / _FILE).exists():
            _OPEN[key] = Claims(folder)
        return _OPEN[key]
