"""Runs in an environment with PYNQ: a board that goes away in a run, and restarts between two.

Arguments: the overlay, the program, inputs, where to write outputs.
"""

import sys

import numpy as np

from host.driver import Accelerator
from host.errors import DeviceLostError
from host.pynq import PynqDevice


def main(bitfile: str, program: str, inputs: str, outputs: str) -> None:
    x = np.load(inputs)
    try:
        with PynqDevice(bitfile) as device, Accelerator(device) as accelerator:
            accelerator.load(program)
            accelerator.run(x)
            print("running", flush=True)
            while True:
                accelerator.run(x)
    except DeviceLostError as error:
        print(f"{type(error).__name__}: {error}", flush=True)
    sys.stdin.readline()
    with PynqDevice(bitfile) as device, Accelerator(device) as accelerator:
        accelerator.load(program)
        accelerator.run(x)
        print("ran", flush=True)
        sys.stdin.readline()  # the board restarts meanwhile
        try:
            accelerator.run(x)
        except DeviceLostError as error:
            print(f"{type(error).__name__}: {error}", flush=True)
        accelerator.unload()
    with PynqDevice(bitfile) as device, Accelerator(device) as accelerator:
        accelerator.load(program)
        np.save(outputs, accelerator.run(x))


if __name__ == "__main__":
    main(*sys.argv[1:])
