"""The accelerator's RTL as a device for the driver."""

from __future__ import annotations

import importlib.metadata
import time
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

import codesign
import hw
from codesign.arch import Arch
from codesign.reference.timing import Dram
from host.device import Overlay
from sim.cache import cached, digest
from sim.model import SimulationModel, Stalls, build_model

TOP = "codesign_top"
_WAIT_CYCLES = 200_000
"""Longest stretch of simulation in one call, so that Ctrl-C is answered within seconds."""
_BASE, _ALIGNMENT = 0x1000_0000, 4096
_GRAIN = 64
"""Sizes in memory are multiples of it: a burst's last beat may reach beyond what was asked for."""

_SOURCES = digest(
    path.read_bytes()
    for package in (hw, codesign)
    for path in sorted(Path(package.__path__[0]).glob("*.py"))
)
"""Of the generator as this process runs it: what is edited under it later is another's."""


def verilog(arch: Arch, cache: Path | None = None) -> str:
    """The accelerator's Verilog, generated again only when its sources or ``arch`` change."""
    logic = arch.replace(name="", clock_mhz=1.0, board="")
    parts = [importlib.metadata.version("amaranth"), repr(logic)]
    key = digest(["verilog", *parts, _SOURCES])

    def generate(directory: Path) -> None:
        from hw.build import generate as generate_verilog

        (directory / f"{TOP}.v").write_text(generate_verilog(arch))

    return (cached(cache, key, generate) / f"{TOP}.v").read_text()


class RtlBuffer:
    """Memory of numpy that the simulated accelerator sees at ``address``."""

    def __init__(self, model: SimulationModel, address: int, nbytes: int) -> None:
        self._model = model
        self._memory = np.zeros(-(-nbytes // _GRAIN) * _GRAIN, np.uint8)
        self._nbytes = nbytes
        self.address = address
        model.map(address, self._memory)

    @property
    def array(self) -> npt.NDArray[np.uint8]:
        return self._memory[: self._nbytes]

    def flush(self) -> None:
        """Nothing to do: both sides share the memory."""

    def invalidate(self) -> None:
        """Nothing to do: both sides share the memory."""

    def free(self) -> None:
        self._model.unmap(self.address)


class RtlDevice:
    """A simulation of the generated Verilog, with its DRAM; matches ``host.device.Device``.

    Time-outs are told in simulated time.

    Parameters
    ----------
    arch:
        Of the accelerator; its first simulation builds a model, which takes a while.
    dram:
        Latencies of the DRAM; those of the machine reference by default.
    stalls:
        Random pauses on the DRAM's channels.
    waveform:
        A VCD file to write (slow, and large).
    cache:
        Where built models are kept; the user's cache directory by default.

    Attributes
    ----------
    model:
        The simulation itself, for faults and statistics.
    build_seconds, simulation_s:
        Time spent to build or load the model, and in simulation (all of ``model.cycle``).
    overlay:
        None: no file was loaded.
    """

    def __init__(
        self,
        arch: Arch,
        *,
        dram: Dram | None = None,
        stalls: Stalls | None = None,
        waveform: Path | None = None,
        cache: Path | None = None,
    ) -> None:
        begin = time.perf_counter()
        library = build_model(verilog(arch, cache), TOP, trace=waveform is not None, cache=cache)
        self.model = SimulationModel(library, dram, stalls, waveform)
        self.build_seconds = time.perf_counter() - begin
        self.simulation_s = 0.0
        self.overlay: Overlay | None = None
        self.name = f"the RTL simulation of {arch.name!r}"
        self.clock_hz = arch.clock_mhz * 1e6
        self._next_address = _BASE

    def seconds(self) -> float:
        return self.model.cycle / self.clock_hz

    def allocate(self, nbytes: int) -> RtlBuffer:
        """A buffer of zeros; addresses are never used twice, so that a stale one is noticed."""
        if nbytes < 1:
            raise ValueError(f"a buffer of {nbytes} bytes: at least 1 is needed")
        buffer = RtlBuffer(self.model, self._next_address, nbytes)
        self._next_address += (nbytes // _ALIGNMENT + 2) * _ALIGNMENT
        return buffer

    def read_register(self, offset: int) -> int:
        begin = time.perf_counter()
        try:
            return self.model.read_register(offset)
        finally:
            self.simulation_s += time.perf_counter() - begin

    def write_register(self, offset: int, value: int) -> None:
        begin = time.perf_counter()
        try:
            self.model.write_register(offset, value)
        finally:
            self.simulation_s += time.perf_counter() - begin

    def wait(self) -> None:
        """Simulate until the interrupt, or for a while."""
        begin = time.perf_counter()
        try:
            self.model.run(_WAIT_CYCLES)
        finally:
            self.simulation_s += time.perf_counter() - begin

    def close(self) -> None:
        self.model.close()

    def __enter__(self) -> RtlDevice:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
