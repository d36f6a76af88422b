import numpy as np
import pytest

from sim.board.errors import BoardError
from sim.board.memory import PAGE, STALE_CACHE, STALE_DRAM, Memory


class Windows(dict):
    """What the logic can reach."""

    def unmap(self, address: int) -> None:
        del self[address]


@pytest.fixture
def windows() -> Windows:
    return Windows()


@pytest.fixture
def memory(windows: Windows) -> Memory:
    return Memory(0x10000, 4 * PAGE, windows.__setitem__, windows.unmap)


def test_each_side_sees_the_other_after_flush_and_invalidate_only(memory: Memory) -> None:
    buffer = memory.allocate(8)
    assert (buffer.cache == STALE_CACHE).all()
    assert (buffer.dram == STALE_DRAM).all()
    buffer.cache[:] = np.arange(8)
    assert (buffer.dram == STALE_DRAM).all()
    buffer.flush()
    assert buffer.dram[:8].tolist() == list(range(8))
    assert (buffer.dram[8:] == STALE_DRAM).all()
    buffer.dram[0] = 99
    assert buffer.cache[0] == 0
    buffer.invalidate()
    assert buffer.cache[0] == 99


def test_the_logic_reaches_whole_pages_of_what_is_in_use(memory: Memory, windows: Windows) -> None:
    first, second = memory.allocate(1), memory.allocate(PAGE + 1)
    assert {address: len(dram) for address, dram in windows.items()} == {
        0x10000: PAGE,
        0x10000 + PAGE: 2 * PAGE,
    }
    memory.free(first)
    assert list(windows) == [second.address]


def test_an_address_comes_back_as_late_as_possible(memory: Memory) -> None:
    first = memory.allocate(1)
    memory.free(first)
    addresses = [memory.allocate(1).address for _ in range(4)]
    assert addresses == [0x10000 + PAGE * i for i in (1, 2, 3, 0)]


def test_a_gap_between_two_buffers_is_found(memory: Memory) -> None:
    buffers = [memory.allocate(PAGE) for _ in range(4)]
    memory.free(buffers[1])
    memory.free(buffers[2])
    assert memory.allocate(2 * PAGE).address == buffers[1].address


def test_what_there_is_not_is_refused(memory: Memory) -> None:
    kept = memory.allocate(3 * PAGE)
    with pytest.raises(
        BoardError, match=f"no {PAGE + 1} contiguous bytes.*{3 * PAGE} of {4 * PAGE}"
    ):
        memory.allocate(PAGE + 1)
    with pytest.raises(BoardError, match="a buffer of 0 bytes"):
        memory.allocate(0)
    memory.free(kept)
    with pytest.raises(BoardError, match="at 0x10000 has been freed already"):
        memory.free(kept)
