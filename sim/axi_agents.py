"""AXI4 for cocotb: a memory as slave, a master for registers, and checkers that only watch.

Signals are found by prefix (``m_axi_``, ``s_axi_``); rules are those of Arm IHI 0022.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from sim.agents import Pauses

OKAY, SLVERR, DECERR = 0, 2, 3
_INCR = 1
_PAGE = 4096


@dataclass
class Window:
    """Memory at an address; ``response`` other than OKAY makes every access to it fail."""

    base: int
    data: npt.NDArray[np.uint8]
    response: int = OKAY

    def __contains__(self, address: int) -> bool:
        return self.base <= address < self.base + len(self.data)


@dataclass
class _Burst:
    identity: int
    address: int
    beats: int
    due: int
    done: int = 0
    writes: list[tuple[int, int]] = field(default_factory=list)


class AxiMemory:
    """A slave on ``{prefix}ar*`` ... with pauses on every channel and random latency.

    Reads of different IDs may overtake each other; what is written reaches memory with the
    response. An address outside all windows answers DECERR.
    """

    LATENCY = 5, 40
    OUTSTANDING = 8

    def __init__(self, dut: Any, prefix: str, windows: list[Window], seed: int, pause: float):
        self._dut, self._prefix = dut, prefix
        self.windows = windows
        self._random = np.random.default_rng(seed)
        self._bytes = len(self._signal("rdata")) // 8
        channels = ("ar", "r", "aw", "w", "b")
        self._pauses = {name: Pauses(seed + 1 + i, pause) for i, name in enumerate(channels)}
        self._cycle = 0
        self._reads: list[_Burst] = []
        self._serving: _Burst | None = None
        self._open: deque[_Burst] = deque()
        self._answers: deque[_Burst] = deque()
        self._r = self._b = False
        for name in ("arready", "rvalid", "awready", "wready", "bvalid"):
            self._signal(name).value = 0

    def _signal(self, name: str) -> Any:
        return getattr(self._dut, self._prefix + name)

    def _value(self, name: str) -> int:
        return int(self._signal(name).value)

    @property
    def idle(self) -> bool:
        """No burst is outstanding."""
        return not (self._reads or self._open or self._answers)

    # --- the cycle ------------------------------------------------------------------------------
    def drive(self) -> None:
        room = len(self._reads) < self.OUTSTANDING
        self._ar_ready = room and not self._pauses["ar"]()
        self._signal("arready").value = int(self._ar_ready)
        room = len(self._open) + len(self._answers) < self.OUTSTANDING
        self._aw_ready = room and not self._pauses["aw"]()
        self._signal("awready").value = int(self._aw_ready)
        self._w_ready = bool(self._open) and not self._pauses["w"]()
        self._signal("wready").value = int(self._w_ready)
        if not self._r and self._choose() and not self._pauses["r"]():
            self._present()
        self._signal("rvalid").value = int(self._r)
        due = bool(self._answers) and self._answers[0].due <= self._cycle
        if not self._b and due and not self._pauses["b"]():
            self._respond(self._answers[0])
        self._signal("bvalid").value = int(self._b)

    def sample(self) -> None:
        if self._w_ready and self._value("wvalid"):
            self._take_data()
        if self._ar_ready and self._value("arvalid"):
            self._reads.append(self._burst("ar"))
        if self._aw_ready and self._value("awvalid"):
            self._open.append(self._burst("aw"))
        if self._r and self._value("rready"):
            self._r = False
            self._advance()
        if self._b and self._value("bready"):
            self._b = False
            self._answers.popleft()
        self._cycle += 1

    def _burst(self, channel: str) -> _Burst:
        return _Burst(
            self._value(f"{channel}id"),
            self._value(f"{channel}addr"),
            self._value(f"{channel}len") + 1,
            self._cycle + int(self._random.integers(*self.LATENCY)),
        )

    # --- reading --------------------------------------------------------------------------------
    def _choose(self) -> bool:
        """Whether a burst is being served: any, but of one ID the oldest."""
        if self._serving is None and self._reads:
            chosen = self._reads[int(self._random.integers(len(self._reads)))]
            oldest = next(b for b in self._reads if b.identity == chosen.identity)
            self._serving = oldest if oldest.due <= self._cycle else None
        return self._serving is not None

    def _present(self) -> None:
        burst = self._serving
        assert burst is not None
        window, start = self._find(burst.address + burst.done * self._bytes)
        response = DECERR if window is None else window.response
        data = b"\xa5" * self._bytes
        if window is not None and response == OKAY:
            data = window.data[start : start + self._bytes].tobytes()
        self._signal("rdata").value = int.from_bytes(data, "little")
        self._signal("rid").value = burst.identity
        self._signal("rresp").value = response
        self._signal("rlast").value = int(burst.done + 1 == burst.beats)
        self._r = True

    def _advance(self) -> None:
        burst = self._serving
        assert burst is not None
        burst.done += 1
        if burst.done == burst.beats:
            self._reads.remove(burst)
            self._serving = None

    # --- writing --------------------------------------------------------------------------------
    def _take_data(self) -> None:
        burst = self._open[0]
        burst.writes.append((self._value("wdata"), self._value("wstrb")))
        if len(burst.writes) == burst.beats:
            burst.due = self._cycle + int(self._random.integers(*self.LATENCY))
            self._answers.append(self._open.popleft())

    def _respond(self, burst: _Burst) -> None:
        response = OKAY
        for number, (word, strobe) in enumerate(burst.writes):
            window, start = self._find(burst.address + number * self._bytes)
            own = DECERR if window is None else window.response
            response = max(response, own)
            if window is None or own != OKAY:
                continue
            data = word.to_bytes(self._bytes, "little")
            for i in range(self._bytes):
                if strobe >> i & 1:
                    window.data[start + i] = data[i]
        self._signal("bid").value = burst.identity
        self._signal("bresp").value = response
        self._b = True

    def _find(self, address: int) -> tuple[Window | None, int]:
        for window in self.windows:
            if address in window:
                return window, address - window.base
        return None, 0


class AxiChecker:
    """Watches a master: bursts, alignment, the 4 KiB rule, WLAST, and that VALID and payload hold.

    ``bursts`` counts those that it has seen, by channel, and ``longest`` their beats.
    """

    _PAYLOAD: ClassVar = {
        "ar": ("id", "addr", "len", "size", "burst"),
        "aw": ("id", "addr", "len", "size", "burst"),
        "w": ("data", "strb", "last"),
    }

    def __init__(self, dut: Any, prefix: str) -> None:
        self._dut, self._prefix = dut, prefix
        self._bytes = len(getattr(dut, f"{prefix}rdata")) // 8
        self._waiting: dict[str, tuple[int, ...] | None] = dict.fromkeys(self._PAYLOAD)
        self._lengths: deque[int] = deque()
        self._beats: deque[int] = deque()
        self._beat = 0
        self.bursts = {"ar": 0, "aw": 0}
        self.longest = 0

    def _value(self, name: str) -> int:
        return int(getattr(self._dut, self._prefix + name).value)

    def drive(self) -> None:
        """A checker drives nothing."""

    def sample(self) -> None:
        for channel, names in self._PAYLOAD.items():
            valid, ready = self._value(f"{channel}valid"), self._value(f"{channel}ready")
            before = self._waiting[channel]
            assert valid or before is None, f"{channel}: VALID fell before READY"
            if not valid:
                continue
            payload = tuple(self._value(channel + name) for name in names)
            assert before in (None, payload), f"{channel}: payload changed before READY"
            self._waiting[channel] = None if ready else payload
            if ready and channel == "w":
                self._data(payload[-1])
            elif ready:
                self._request(channel, payload)

    def _request(self, channel: str, payload: tuple[int, ...]) -> None:
        _, address, length, size, burst = payload
        place = f"{channel} at 0x{address:X}, {length + 1} beats"
        assert burst == _INCR, f"{place}: not INCR"
        assert 1 << size == self._bytes, f"{place}: narrower than the bus"
        assert address % self._bytes == 0, f"{place}: not aligned"
        last = address + (length + 1) * self._bytes - 1
        assert address // _PAGE == last // _PAGE, f"{place}: crosses 4 KiB"
        self.bursts[channel] += 1
        self.longest = max(self.longest, length + 1)
        if channel == "aw":
            self._lengths.append(length + 1)
            self._match()

    def _data(self, last: int) -> None:
        self._beat += 1
        if last:
            self._beats.append(self._beat)
            self._beat = 0
        self._match()

    def _match(self) -> None:
        """Data may come before its address: compare what both have told so far."""
        while self._beats and self._lengths:
            beats, length = self._beats.popleft(), self._lengths.popleft()
            assert beats == length, f"WLAST after {beats} beats of a burst of {length}"
        if self._lengths:
            assert self._beat < self._lengths[0], f"no WLAST at beat {self._lengths[0]}"


class LiteMaster:
    """Accesses registers at ``{prefix}aw*`` ...; the address may come before the data or after."""

    def __init__(self, dut: Any, prefix: str, seed: int, pause: float) -> None:
        self._dut, self._prefix = dut, prefix
        self._pauses = Pauses(seed, pause)
        self._offered = dict.fromkeys(("aw", "w", "ar"), False)
        self._owed: set[str] = set()
        self._answer: str | None = None
        self.value = 0
        self._signal("wstrb").value = 0xF
        for channel in self._offered:
            self._signal(f"{channel}valid").value = 0

    def _signal(self, name: str) -> Any:
        return getattr(self._dut, self._prefix + name)

    @property
    def idle(self) -> bool:
        """The last access is over; a read's ``value`` is there."""
        return self._answer is None

    def write(self, offset: int, value: int) -> None:
        """Begin to write a register."""
        self._begin("b", {"aw", "w"})
        self._signal("awaddr").value = offset
        self._signal("wdata").value = value

    def read(self, offset: int) -> None:
        """Begin to read a register."""
        self._begin("r", {"ar"})
        self._signal("araddr").value = offset

    def _begin(self, answer: str, channels: set[str]) -> None:
        assert self.idle, "an access is still under way"
        self._answer, self._owed = answer, channels

    def drive(self) -> None:
        for channel in ("aw", "w", "ar"):
            if channel in self._owed and not self._pauses():
                self._owed.discard(channel)
                self._offered[channel] = True
            self._signal(f"{channel}valid").value = int(self._offered[channel])
        self._takes = not self._pauses()
        for channel in ("b", "r"):
            self._signal(f"{channel}ready").value = int(self._takes)

    def sample(self) -> None:
        for channel, offered in self._offered.items():
            if offered and int(self._signal(f"{channel}ready").value):
                self._offered[channel] = False
        answer = self._answer
        if answer and self._takes and int(self._signal(f"{answer}valid").value):
            assert int(self._signal(f"{answer}resp").value) == OKAY
            if answer == "r":
                self.value = int(self._signal("rdata").value)
            self._answer = None
