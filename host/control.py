"""The accelerator's registers as the driver uses them: bind buffers, start, wait, reset."""

from __future__ import annotations

from collections.abc import Mapping

from host.device import Buffer, Device
from host.errors import AcceleratorError, DeviceMismatchError, DeviceTimeoutError
from host.manifest import Manifest, Part

_WORD, _WORD_BITS = 0xFFFFFFFF, 32
_RESET_WAITS = 64
"""A soft reset ends with the last outstanding burst: a DRAM that answers takes a fraction of it."""
_CLOCK_TOLERANCE = 1e-3
"""Clocks are made by dividing: what is read back is seldom the number that was asked for."""
REGIONS = ("PROGRAM", "INPUT", "OUTPUT", "SCRATCH", "TRACE")
"""Buffers that the accelerator works on, by the names of their registers."""


class Control:
    """Registers of the device by the names in a program's manifest.

    Parameters
    ----------
    timeout_s:
        Seconds of the device's own clock after which a part has failed.
    """

    def __init__(self, device: Device, manifest: Manifest, timeout_s: float) -> None:
        self._device = device
        self._manifest = manifest
        self._timeout_s = timeout_s

    def check_device(self) -> None:
        """See that the program was compiled for this device, and that its clock is one that the
        hardware was built for.

        Raises
        ------
        DeviceMismatchError
            It was not, it is not.
        """
        manifest, overlay = self._manifest, self._device.overlay
        architecture = repr(manifest.arch["name"])
        if overlay is not None and overlay.fingerprint != manifest.fingerprint:
            raise DeviceMismatchError(
                f"overlay {overlay.name!r} holds design 0x{overlay.fingerprint:08X}, but program "
                f"{manifest.name!r} is for 0x{manifest.fingerprint:08X}: load the overlay of "
                f"{architecture}, or compile the program for the overlay's architecture"
            )
        stale = (
            f"the board runs another bitstream than {overlay.name!r}: load it again"
            if overlay
            else ""
        )
        checks = (
            ("ID", manifest.identity, "no accelerator is at this address; load its overlay"),
            ("ISA_VERSION", manifest.isa_version,
             "compile the program with the version that the hardware was generated with"),
            ("FINGERPRINT", manifest.fingerprint,
             stale or "compile the program for the device's architecture, or load the overlay of "
             f"{architecture}"),
        )  # fmt: skip
        for register, wanted, remedy in checks:
            found = self.read(register)
            if found != wanted:
                raise DeviceMismatchError(
                    f"register {register} reads 0x{found:08X}, but program {manifest.name!r} is "
                    f"for 0x{wanted:08X}: {remedy}"
                )
        self._check_clock()

    def _check_clock(self) -> None:
        clock, overlay = self._device.clock_hz, self._device.overlay
        if not clock > 0:
            raise DeviceMismatchError(
                f"the clock of {self._device.name} reads {clock} Hz: it stands still; load the "
                "overlay again"
            )
        if overlay is not None and clock > overlay.clock_hz * (1 + _CLOCK_TOLERANCE):
            raise DeviceMismatchError(
                f"the clock of {self._device.name} runs at {clock / 1e6:.3f} MHz, but overlay "
                f"{overlay.name!r} works up to {overlay.clock_hz / 1e6:.3f} MHz: set the clock to "
                "that (pynq: Clocks.fclk0_mhz), or load the overlay again"
            )

    def bind(self, buffers: Mapping[str, Buffer]) -> None:
        """Tell the device where its regions lie; it reaches no others."""
        for name in REGIONS:
            buffer = buffers.get(name)
            self._write_wide(f"{name}_BASE", buffer.address if buffer else 0)
            self._write_wide(f"{name}_SIZE", len(buffer.array) if buffer else 0)

    def rebase(self, name: str, old: int, new: int) -> None:
        """Move a region of unchanged size."""
        self.write(f"{name}_BASE_LOW", new & _WORD)
        if old >> _WORD_BITS != new >> _WORD_BITS:
            self.write(f"{name}_BASE_HIGH", new >> _WORD_BITS)

    def is_bound(self, program: Buffer) -> bool:
        """Whether the program that the device works on lies there.

        Any other program's buffer that is still in use has another address, and a device that was
        loaded anew has none.
        """
        overlay = self._device.overlay
        short = overlay is not None and overlay.address_bits <= _WORD_BITS
        name = "PROGRAM_BASE"
        return (self.read(f"{name}_LOW") if short else self.read_wide(name)) == program.address

    def choose(self, part: Part) -> None:
        """The part that ``start`` starts."""
        self.write("PART_OFFSET", part.offset)
        self.write("PART_COUNT", part.count)

    def start(self) -> None:
        """Begin; what a run before has left in STATUS is cleared."""
        self.write("CONTROL", self._manifest.control["start"])

    def finish(self, part: str) -> None:
        """Wait for the end of the part that was started.

        Raises
        ------
        AcceleratorError
            It stopped with an error.
        DeviceTimeoutError
            It does not end.
        """
        status = self._manifest.status
        over, error = status["done"] | status["error"], status["error"]
        begin = self._device.seconds()
        while True:
            self._device.wait()
            found = self.read("STATUS")
            if found & over:
                break
            if self._device.seconds() - begin > self._timeout_s:
                raise DeviceTimeoutError(
                    f"part {part!r} has not ended after {self._timeout_s:g} s: give Accelerator a "
                    "longer timeout_s, or see why memory or clock stand still; the next run "
                    "begins with a soft reset"
                )
        if found & error:
            raise self._failure(part)

    def stop(self) -> None:
        """End a run that is under way or has failed."""
        if self.read("STATUS") & ~self._manifest.status["done"]:
            self.reset()

    def reset(self) -> None:
        """A soft reset.

        Raises
        ------
        DeviceTimeoutError
            It does not end.
        """
        self.write("CONTROL", self._manifest.control["reset"])
        for _ in range(_RESET_WAITS):
            if not self.read("STATUS") & self._manifest.status["resetting"]:
                return
            self._device.wait()
        raise DeviceTimeoutError(
            f"the soft reset has not ended after {_RESET_WAITS} waits: memory owes the accelerator "
            "an answer; load the overlay again, or restart the simulation"
        )

    def counters(self) -> dict[str, int]:
        """All counters of the last part. They hold while nothing runs."""
        names = self._manifest.counters
        low = {name: self.read(f"{name}_LOW") for name in names}
        # nothing counts faster than the cycles: where their upper half is zero, so are the others'
        if not self.read("CYCLES_HIGH"):
            return low
        return {name: low[name] | self.read(f"{name}_HIGH") << _WORD_BITS for name in names}

    def _failure(self, part: str) -> AcceleratorError:
        manifest = self._manifest
        code, index = self.read("ERROR_CODE"), self.read("ERROR_INDEX")
        layer = None
        if part == "infer":
            layer = next((s.name for s in manifest.layers if s.first <= index < s.last), None)
        return AcceleratorError(manifest.errors.get(code, f"error {code}"), part, index, layer)

    def read(self, name: str) -> int:
        return self._device.read_register(self._manifest.registers[name])

    def write(self, name: str, value: int) -> None:
        self._device.write_register(self._manifest.registers[name], value)

    def read_wide(self, name: str) -> int:
        return self.read(f"{name}_LOW") | self.read(f"{name}_HIGH") << _WORD_BITS

    def _write_wide(self, name: str, value: int) -> None:
        self.write(f"{name}_LOW", value & _WORD)
        self.write(f"{name}_HIGH", value >> _WORD_BITS)
