"""The driver: ``Accelerator(device).load("net.prog").run(x)``; needs numpy alone."""

from host.driver import Accelerator

__all__ = ["Accelerator"]
