"""What can be in a simulated board's programmable logic: registers, and a master on its DRAM."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from codesign.arch import Arch
from codesign.errors import CodesignError
from codesign.reference.device import ReferenceDevice
from codesign.registers import (
    OFFSETS,
    REGISTER_SPACE_BITS,
    STATUS_BUSY,
    STATUS_RESETTING,
)
from sim.board.errors import BoardError
from sim.board.leds import LedFabric
from sim.board.memory import Bytes
from sim.device import TOP, verilog
from sim.model import SimulationModel, build_model

POLL_CYCLES = 20_000
"""Clock cycles that pass between two reads of STATUS while the accelerator works: about what a
remote procedure call takes at 150 MHz. Fewer where the interrupt comes first."""
KINDS = ("rtl", "reference")
_STATUS = OFFSETS["STATUS"]
_WORKING = STATUS_BUSY | STATUS_RESETTING


class Fabric(Protocol):
    """A design in the programmable logic."""

    @property
    def space(self) -> int:
        """Bytes of registers that it decodes."""

    @property
    def busy_cycles(self) -> int:
        """Clock cycles that have passed while it worked."""

    def read(self, offset: int) -> int:
        """The 32-bit register at byte ``offset``."""

    def write(self, offset: int, value: int) -> None:
        """Write 32 bits to the register at byte ``offset``."""

    def map(self, address: int, dram: Bytes) -> None:
        """Let it reach DRAM at ``address``."""

    def unmap(self, address: int) -> None:
        """Take that DRAM away."""

    def close(self) -> None:
        """Another design takes its place."""


Description = Mapping[str, Any]
"""What a bitstream for simulated boards tells of its design: ``bitstreams.design``."""
Make = Callable[[Description], Fabric]
"""Makes a fabric afresh, as programming it does."""


class RtlFabric:
    """The generated Verilog. Time passes while STATUS is read and says that it works.

    Attributes
    ----------
    model:
        The simulation, for faults and statistics.
    busy_cycles:
        As of ``Fabric``.
    """

    space = 1 << REGISTER_SPACE_BITS

    def __init__(self, library: Path, poll_cycles: int = POLL_CYCLES) -> None:
        self.model = SimulationModel(library)
        self._poll_cycles = poll_cycles
        self.busy_cycles = 0

    def read(self, offset: int) -> int:
        value = self.model.read_register(offset)
        if offset == _STATUS and value & _WORKING:
            begin = self.model.cycle
            self.model.run(self._poll_cycles)
            value = self.model.read_register(offset)
            self.busy_cycles += self.model.cycle - begin
        return value

    def write(self, offset: int, value: int) -> None:
        self.model.write_register(offset, value)

    def map(self, address: int, dram: Bytes) -> None:
        self.model.map(address, dram)

    def unmap(self, address: int) -> None:
        self.model.unmap(address)

    def close(self) -> None:
        self.model.close()


class ReferenceFabric:
    """The machine reference: no Verilator needed, the same results and cycles, runs in one poll."""

    space = 1 << REGISTER_SPACE_BITS

    def __init__(self, arch: Arch) -> None:
        self._device = ReferenceDevice(arch)

    @property
    def busy_cycles(self) -> int:
        return round(self._device.seconds() * self._device.clock_hz)

    def read(self, offset: int) -> int:
        if offset == _STATUS:
            try:
                self._device.wait()
            except (CodesignError, ValueError) as error:
                raise BoardError(f"the machine reference refuses the program: {error}") from error
        return self._device.read_register(offset)

    def write(self, offset: int, value: int) -> None:
        self._device.write_register(offset, value)

    def map(self, address: int, dram: Bytes) -> None:
        self._device.map(address, dram)

    def unmap(self, address: int) -> None:
        self._device.unmap(address)

    def close(self) -> None:
        """Nothing is held."""


def fabrics(kind: str, *, poll_cycles: int = POLL_CYCLES, cache: Path | None = None) -> Make:
    """What stands for an accelerator in the logic.

    Parameters
    ----------
    kind:
        ``rtl``, whose first use on an architecture builds a simulator (a minute), or ``reference``.
    poll_cycles:
        Of ``rtl``, between two reads of STATUS.

    Raises
    ------
    ValueError
        Another ``kind``.
    """
    if kind not in KINDS:
        raise ValueError(f"fabric {kind!r}: there are {' and '.join(KINDS)}")

    def make(description: Description) -> Fabric:
        if "leds" in description:
            return LedFabric()
        arch = Arch(**description["arch"])
        if arch.fingerprint != description["fingerprint"]:
            raise BoardError(
                f"the bitstream is of architecture 0x{description['fingerprint']:08X}, which this "
                f"version makes as 0x{arch.fingerprint:08X}: write the overlay again"
            )
        if kind == "reference":
            return ReferenceFabric(arch)
        return RtlFabric(build_model(verilog(arch, cache), TOP, cache=cache), poll_cycles)

    return make
