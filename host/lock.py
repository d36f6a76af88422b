"""One process at a time on a board."""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from pathlib import Path
from types import TracebackType

from host.errors import DeviceBusyError


class BoardLock:
    """A lock that the operating system takes back when its process ends, however it ends.

    Parameters
    ----------
    board:
        Which board: its network address, or any name for the one that this runs on.
    folder:
        Where lock files lie, the same for all users of a board; the system's temporary folder by
        default. Files stay there, for removing one would let two processes lock two files.

    Raises
    ------
    DeviceBusyError
        The board is taken; the message names the process.
    """

    _file = -1

    def __init__(self, board: str, folder: Path | None = None) -> None:
        name = re.sub(r"[^\w.-]+", "-", board)
        self.path = Path(folder or tempfile.gettempdir()) / f"codesign-{name}.lock"
        self._file = _open(self.path)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.read(self._file, 64).decode(errors="replace").strip()
            self.release()
            raise DeviceBusyError(board, owner) from None
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let others have the board; again is no error."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __del__(self) -> None:
        # a device that a notebook has forgotten cannot be closed any more
        self.release()

    def __enter__(self) -> BoardLock:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def _open(path: Path) -> int:
    """The file of that name, made for all users where there is none."""
    try:
        # O_CREAT on a file of another user is refused in sticky folders (fs.protected_regular)
        return os.open(path, os.O_RDWR)
    except FileNotFoundError:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        os.fchmod(file, 0o666)  # whatever the umask
        return file
