"""A program's buffers on a device: allocated once, checked once, freed together."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from host.device import Buffer, Device
from host.errors import AllocationError
from host.manifest import Manifest

SLOTS = 2
"""Batches that are on their way at once: one runs, the other is packed or unpacked."""


def sizes(manifest: Manifest, image_bytes: int, traced: bool) -> dict[str, int]:
    """Bytes of each buffer that the program needs, those of inputs and outputs for each slot."""
    count = max(manifest.setup.count, manifest.infer.count)
    needed = {"PROGRAM": image_bytes, "SCRATCH": manifest.scratch_bytes}
    for slot in range(SLOTS):
        needed[slot_name("INPUT", slot)] = manifest.input_bytes
        needed[slot_name("OUTPUT", slot)] = manifest.output_bytes
    needed["TRACE"] = count * manifest.trace_record_bytes if traced else 0
    return {name: size for name, size in needed.items() if size}


def slot_name(region: str, slot: int) -> str:
    """Key of a slot's buffer."""
    return f"{region} {slot}"


class Memory:
    """The buffers of a program, by the names of the accelerator's regions.

    Raises
    ------
    AllocationError
        The device has no room, or gives memory that the accelerator does not reach; what was
        allocated is freed again.
    """

    def __init__(self, device: Device, manifest: Manifest, image: bytes, traced: bool) -> None:
        self._buffers: dict[str, Buffer] = {}
        self._device_name = device.name
        overlay = device.overlay
        bits = min([manifest.address_bits, *([overlay.address_bits] if overlay else [])])
        needed = sizes(manifest, len(image), traced)
        try:
            for name, size in needed.items():
                self._buffers[name] = self._allocate(device, manifest, name, size, needed)
                self._check(name, size, bits, manifest.alignment)
        except BaseException:
            self.free()
            raise
        program = self["PROGRAM"]
        program.array[: len(image)] = np.frombuffer(image, np.uint8)
        program.flush()

    def __getitem__(self, name: str) -> Buffer:
        return self._buffers[name]

    def regions(self, slot: int) -> Mapping[str, Buffer]:
        """What to bind for a run of that slot."""
        chosen = {name: at for name, at in self._buffers.items() if " " not in name}
        for region in ("INPUT", "OUTPUT"):
            chosen[region] = self._buffers[slot_name(region, slot)]
        return chosen

    def free(self) -> None:
        """Give all back. Where the device is out of reach its memory went with it; what else fails
        is raised once every buffer was tried."""
        failure: Exception | None = None
        while self._buffers:
            _, buffer = self._buffers.popitem()
            try:
                buffer.free()
            except ConnectionError:
                continue
            except Exception as error:
                failure = failure or error
        if failure is not None:
            raise failure

    def _allocate(
        self, device: Device, manifest: Manifest, name: str, size: int, needed: Mapping[str, int]
    ) -> Buffer:
        try:
            return device.allocate(size)
        except MemoryError as error:
            raise AllocationError(
                f"{self._device_name} has no {size:,} bytes left for buffer {name!r} (program "
                f"{manifest.name!r} takes {sum(needed.values()):,} in all): unload other programs, "
                "restart other notebooks, or give the board a larger pool (boot argument cma=...); "
                f"the device says: {error}"
            ) from error

    def _check(self, name: str, size: int, bits: int, alignment: int) -> None:
        buffer = self._buffers[name]
        if len(buffer.array) < size:
            raise AllocationError(
                f"{self._device_name} gave {len(buffer.array):,} of {size:,} bytes for buffer "
                f"{name!r}: the device's allocate is wrong; report it"
            )
        if buffer.address % alignment or buffer.address + size > 1 << bits:
            raise AllocationError(
                f"buffer {name!r} of {size:,} bytes lies at 0x{buffer.address:X}; the accelerator "
                f"reaches {bits} bits of address, in multiples of {alignment}: allocate in low "
                "memory, or build the overlay with wider addresses"
            )
