"""The compiled accelerator and its DRAM as a Python object; every clock cycle runs in C++."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt

from codesign.reference.timing import Dram
from sim.verilator import Model, build

_HARNESS = Path(__file__).with_name("harness.cpp")
_DRAM = Path(__file__).with_name("dram.h")
STALL_CHANNELS = ("AR", "R", "AW", "W", "B")
_PROBABILITY_UNIT = 1024


class Response(IntEnum):
    """AXI responses."""

    OKAY = 0
    SLVERR = 2
    DECERR = 3


class Outcome(IntEnum):
    """Why ``SimulationModel.run`` returned."""

    ELAPSED = 0
    INTERRUPT = 1
    VIOLATION = 2


class ProtocolError(RuntimeError):
    """The accelerator broke a rule of AXI; the message names the cycle and the rule."""


@dataclass(frozen=True)
class Stalls:
    """Random pauses: each channel pauses in a cycle with ``probability``, each burst takes up to
    ``jitter`` cycles longer, and bursts of different IDs overtake each other."""

    seed: int
    probability: float = 0.3
    jitter: int = 20


@dataclass(frozen=True)
class Statistics:
    """What the DRAM has served since the simulation began."""

    read_bursts: int
    read_beats: int
    write_bursts: int
    write_beats: int


class _Dram(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_uint32)
        for name in ("read_latency", "write_latency", "reads_outstanding", "writes_outstanding")
    ]


class _Stalls(ctypes.Structure):
    _fields_ = [
        ("seed", ctypes.c_uint64),
        ("per_1024", ctypes.c_uint32 * len(STALL_CHANNELS)),
        ("jitter", ctypes.c_uint32),
    ]


class _Fault(ctypes.Structure):
    _fields_ = [
        ("first", ctypes.c_uint64),
        ("last", ctypes.c_uint64),
        ("response", ctypes.c_uint32),
        ("reads", ctypes.c_uint32),
        ("writes", ctypes.c_uint32),
    ]


class _Statistics(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_uint64)
        for name in ("read_bursts", "read_beats", "write_bursts", "write_beats")
    ]


_HANDLE, _U32, _U64, _INT = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_int
_PROTOTYPES: dict[str, tuple[Sequence[type], type | None]] = {
    "sim_create": ((), _HANDLE),
    "sim_destroy": ((_HANDLE,), None),
    "sim_beat_bytes": ((), _INT),
    "sim_timing": ((_HANDLE, ctypes.POINTER(_Dram)), None),
    "sim_stalls": ((_HANDLE, ctypes.POINTER(_Stalls)), None),
    "sim_map": ((_HANDLE, _U64, _U64, ctypes.c_void_p), None),
    "sim_unmap": ((_HANDLE, _U64), None),
    "sim_fault": ((_HANDLE, ctypes.POINTER(_Fault)), None),
    "sim_clear_faults": ((_HANDLE,), None),
    "sim_run": ((_HANDLE, _U64), _INT),
    "sim_read": ((_HANDLE, _U32, ctypes.POINTER(_U32)), _INT),
    "sim_write": ((_HANDLE, _U32, _U32), _INT),
    "sim_cycle": ((_HANDLE,), _U64),
    "sim_idle": ((_HANDLE,), _INT),
    "sim_violation": ((_HANDLE,), ctypes.c_char_p),
    "sim_statistics": ((_HANDLE, ctypes.POINTER(_Statistics)), None),
    "sim_trace_open": ((_HANDLE, ctypes.c_char_p), _INT),
    "sim_trace_close": ((_HANDLE,), None),
}


def build_model(verilog: str, top: str, *, trace: bool = False, cache: Path | None = None) -> Path:
    """The shared library of a design with the accelerator's ports."""
    model = Model(verilog, top, (_HARNESS,), shared=True, headers=(_DRAM,), trace=trace)
    return build(model, cache)


class SimulationModel:
    """One simulated accelerator, out of reset, with its own clock and DRAM.

    Parameters
    ----------
    library:
        From ``build_model``.
    dram:
        Its latencies.
    stalls:
        Random ones; none by default.
    waveform:
        A VCD file to write; the library must have been built with ``trace``.
    """

    def __init__(
        self,
        library: Path,
        dram: Dram | None = None,
        stalls: Stalls | None = None,
        waveform: Path | None = None,
    ) -> None:
        dram = dram or Dram()
        _check_dram(dram)
        if stalls is not None:
            _check_stalls(stalls)
        self._library = _load(library)
        self._memories: dict[int, npt.NDArray[np.uint8]] = {}
        self._open: int | None = self._library.sim_create()
        self.set_dram(dram)
        if stalls is not None:
            self.set_stalls(stalls)
        if waveform is not None and not self._library.sim_trace_open(
            self._handle, str(waveform).encode()
        ):
            self.close()
            raise ValueError(f"{waveform}: cannot trace; build the model with trace=True")

    @property
    def _handle(self) -> int:
        """The simulation in C++, which a closed one has no more."""
        if self._open is None:
            raise ValueError("the simulation is closed; open another one")
        return self._open

    def set_dram(self, dram: Dram) -> None:
        _check_dram(dram)
        values = (dram.read_latency, dram.write_latency)
        limits = (dram.reads_outstanding, dram.writes_outstanding)
        self._library.sim_timing(self._handle, _Dram(*values, *limits))

    def set_stalls(self, stalls: Stalls) -> None:
        _check_stalls(stalls)
        chance = round(stalls.probability * _PROBABILITY_UNIT)
        chances = (ctypes.c_uint32 * len(STALL_CHANNELS))(*[chance] * len(STALL_CHANNELS))
        self._library.sim_stalls(self._handle, _Stalls(stalls.seed, chances, stalls.jitter))

    def map(self, address: int, memory: npt.NDArray[np.uint8]) -> None:
        """Let the accelerator see ``memory`` (contiguous bytes) at ``address``."""
        if memory.dtype != np.uint8 or not memory.flags.c_contiguous:
            raise ValueError("memory must be a contiguous array of uint8")
        self._library.sim_map(self._handle, address, memory.nbytes, memory.ctypes.data)
        self._memories[address] = memory

    def unmap(self, address: int) -> None:
        """Take memory away; a closed simulation sees none any more."""
        if self._open is not None:
            self._library.sim_unmap(self._open, address)
        self._memories.pop(address, None)

    def inject(
        self, first: int, last: int, response: Response, *, reads: bool = True, writes: bool = True
    ) -> None:
        """Answer beats that touch addresses first..last with ``response``."""
        self._library.sim_fault(self._handle, _Fault(first, last, response, reads, writes))

    def clear_faults(self) -> None:
        self._library.sim_clear_faults(self._handle)

    def run(self, cycles: int) -> Outcome:
        """Advance until the interrupt is high, or by ``cycles``.

        Raises
        ------
        ProtocolError
            The accelerator broke a rule of AXI.
        """
        outcome = Outcome(self._library.sim_run(self._handle, cycles))
        self._check()
        return outcome

    def read_register(self, offset: int) -> int:
        """The register at ``offset``; takes a few cycles."""
        value = _U32()
        self._answer(self._library.sim_read(self._handle, offset, value), "reading", offset)
        return value.value

    def write_register(self, offset: int, value: int) -> None:
        """Write the register at ``offset``; takes a few cycles."""
        self._answer(self._library.sim_write(self._handle, offset, value), "writing", offset)

    def _answer(self, response: int, doing: str, offset: int) -> None:
        self._check()
        if response != Response.OKAY:
            name = "no answer" if response < 0 else Response(response).name
            raise ProtocolError(f"{doing} register 0x{offset:X}: {name}")

    def _check(self) -> None:
        violation = self._library.sim_violation(self._handle).decode()
        if violation:
            raise ProtocolError(violation)

    @property
    def cycle(self) -> int:
        """Clock cycles since the simulation began."""
        return int(self._library.sim_cycle(self._handle))

    @property
    def idle(self) -> bool:
        """Whether no burst is outstanding on the DRAM."""
        return bool(self._library.sim_idle(self._handle))

    @property
    def beat_bytes(self) -> int:
        return int(self._library.sim_beat_bytes())

    @property
    def statistics(self) -> Statistics:
        out = _Statistics()
        self._library.sim_statistics(self._handle, out)
        return Statistics(out.read_bursts, out.read_beats, out.write_bursts, out.write_beats)

    def close(self) -> None:
        """End the simulation and complete its waveform; any use afterwards is a ``ValueError``."""
        if self._open is not None:
            self._library.sim_destroy(self._open)
            self._open = None


def _check_dram(dram: Dram) -> None:
    if min(dram.read_latency, dram.write_latency) < 1:
        raise ValueError(f"{dram}: latencies must be at least 1 cycle")
    if min(dram.reads_outstanding, dram.writes_outstanding) < 1:
        raise ValueError(f"{dram}: at least one outstanding burst is needed")


def _check_stalls(stalls: Stalls) -> None:
    if not 0 <= stalls.probability < 1:
        raise ValueError(f"stall probability {stalls.probability} is outside [0, 1)")


def _load(path: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(path))
    for name, (arguments, result) in _PROTOTYPES.items():
        function = getattr(library, name)
        function.argtypes = list(arguments)
        function.restype = result
    return library
