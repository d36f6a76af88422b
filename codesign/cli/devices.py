"""The devices that a program can run on from the command line."""

from __future__ import annotations

from codesign.arch import Arch
from codesign.cli.console import console
from codesign.reference.device import ReferenceDevice
from host.device import Device
from sim.device import RtlDevice

KINDS = ("reference", "rtl")
"""Machine reference, RTL simulation."""


def open_device(kind: str, arch: Arch) -> Device:
    """A device of one of ``KINDS``; the caller closes it (``with``). RTL is built where needed."""
    if kind != "rtl":
        return ReferenceDevice(arch)
    console.print("opening the simulator; its first use on an architecture builds it: minutes")
    return RtlDevice(arch)
