"""A board's memory for contiguous buffers, with the processor's cache in front of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from sim.board.errors import BoardError

Bytes = npt.NDArray[np.uint8]
PAGE = 4096
STALE_CACHE, STALE_DRAM = 0x5A, 0xA5
"""What new buffers hold on each side: what an earlier owner left there."""


class Allocation:
    """A buffer in two copies: what the processor sees (cache) and what the logic sees (DRAM)."""

    def __init__(self, address: int, nbytes: int, dram: Bytes) -> None:
        self.address = address
        self.cache = np.full(nbytes, STALE_CACHE, np.uint8)
        self.dram = dram
        dram[:] = STALE_DRAM

    def flush(self) -> None:
        """The processor's copy to DRAM."""
        self.dram[: len(self.cache)] = self.cache

    def invalidate(self) -> None:
        """DRAM to the processor's copy."""
        self.cache[:] = self.dram[: len(self.cache)]


class Memory:
    """The pool that buffers come from, in whole pages.

    Parameters
    ----------
    base, nbytes:
        Where it begins and how large it is.
    map_, unmap:
        Called with the address and the DRAM of a buffer that appears, with the address of one that
        disappears: the logic reaches nothing else.
    """

    def __init__(
        self,
        base: int,
        nbytes: int,
        map_: Callable[[int, Bytes], None],
        unmap: Callable[[int], None],
    ) -> None:
        self._base, self._nbytes = base, nbytes
        self._map, self._unmap = map_, unmap
        self._allocations: dict[int, Allocation] = {}
        self._next = base

    @property
    def allocations(self) -> tuple[Allocation, ...]:
        """The buffers that are in use."""
        return tuple(self._allocations.values())

    def allocate(self, nbytes: int) -> Allocation:
        """A new buffer; its contents are whatever was there.

        Each lies behind the one before until the pool's end, so that a stale address is noticed.

        Raises
        ------
        BoardError
            ``nbytes`` is below 1, or no stretch of the pool is large enough.
        """
        if nbytes < 1:
            raise BoardError(f"a buffer of {nbytes} bytes: at least 1 is needed")
        size = -(-nbytes // PAGE) * PAGE
        address = self._find(self._next, size)
        if address is None:
            address = self._find(self._base, size)
        if address is None:
            used = sum(len(buffer.dram) for buffer in self._allocations.values())
            raise BoardError(
                f"no {nbytes} contiguous bytes are left: {used} of {self._nbytes} are in use; "
                "free buffers, or split the work"
            )
        allocation = Allocation(address, nbytes, np.empty(size, np.uint8))
        self._allocations[address] = allocation
        self._next = address + size
        self._map(address, allocation.dram)
        return allocation

    def free(self, allocation: Allocation) -> None:
        """Give a buffer back.

        Raises
        ------
        BoardError
            It has been given back already.
        """
        if self._allocations.get(allocation.address) is not allocation:
            raise BoardError(f"the buffer at 0x{allocation.address:X} has been freed already")
        del self._allocations[allocation.address]
        self._unmap(allocation.address)

    def _find(self, start: int, size: int) -> int | None:
        """The first address from ``start`` on with ``size`` bytes free."""
        for buffer in sorted(self._allocations.values(), key=lambda taken: taken.address):
            end = buffer.address + len(buffer.dram)
            if start + size <= buffer.address:
                break
            start = max(start, end)
        return start if start + size <= self._base + self._nbytes else None
