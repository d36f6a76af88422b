"""Runs in an environment with PYNQ: the lines that users write, and what they do to a board.

Arguments: the overlay, the program, a folder with x.npy, the address of the registers. Leaves
y.npy and told.json there.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pynq

from host.driver import Accelerator
from host.power import find_rails, rail_meter
from host.pynq import PynqDevice


def told_by(function, *arguments, **named):
    """What an operation raises: class and text."""
    try:
        function(*arguments, **named)
    except Exception as error:
        return [type(error).__name__, str(error)]
    return None


def raw_pynq(base: int) -> dict:
    """PYNQ's own classes, without the driver: what they may not do."""
    buffer = pynq.allocate((16,), "u4")
    address = int(buffer.device_address)
    mmio = pynq.MMIO(base, 0x1000)
    found = {
        "id": mmio.read(0) & 0xFFFFFFFF,
        "address": address,
        "long write": told_by(mmio.write, 0x80, bytes(8)),
        "unmapped": told_by(pynq.MMIO(0x9000_0000, 0x1000).read, 0),
        "beyond": told_by(mmio.read, 0x1000),
    }
    buffer.freebuffer()
    found["freed"] = told_by(buffer.flush)
    return found


def measured_watts(device: PynqDevice, accelerator: Accelerator, x: np.ndarray) -> float | None:
    """Mean power of some runs by the board's own sensors, where it has any."""
    if not find_rails(device.read_text):
        return None
    energy = accelerator.measure(rail_meter(device.read_text), x, seconds=0.3).energy
    assert energy.source == "measured"
    return energy.watts


def main(bitfile: str, program: str, folder: Path, base: int) -> None:
    x = np.load(folder / "x.npy")
    with PynqDevice(bitfile) as device, Accelerator(device) as accelerator:
        accelerator.load(program)
        np.save(folder / "y.npy", accelerator.run(x))
        told = {
            "version": pynq.__version__,
            "name": device.name,
            "clock_hz": device.clock_hz,
            "cycles": accelerator.report().cycles,
            "fingerprint": device.overlay.fingerprint,
            "address_bits": device.overlay.address_bits,
            "rails": [rail.name for rail in find_rails(device.read_text)],
            "watts": measured_watts(device, accelerator, x),
            "second": told_by(PynqDevice, bitfile),
            "memory": told_by(device.allocate, 1 << 30),
            "no file": told_by(device.read_text, "/sys/class/hwmon/hwmon9/name"),
            "version file": device.read_text("/proc/version"),
            "raw": raw_pynq(base),
        }
    too_fast = 2e-6 * device.overlay.clock_hz
    told["too fast"] = told_by(PynqDevice, bitfile, clock_mhz=too_fast)
    with PynqDevice(bitfile, clock_mhz=50.0) as device:
        told["slow_hz"] = device.clock_hz
    (folder / "told.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
