"""A program's inference on the machine reference: its time alone."""

from __future__ import annotations

import numpy as np

from codesign.artifact import Program
from codesign.isa import Base
from codesign.reference.machine import Machine, Run


def predicted_run(program: Program, *, check: bool = True) -> Run:
    """Cycles, counters and trace of one inference on the default DRAM, weights resident.

    Parameters
    ----------
    check:
        Also check the program: no address out of range, no result left to chance. A program that
        the compiler made has been checked.
    """
    sizes = {
        Base.INPUT: program.input_bytes,
        Base.OUTPUT: program.output_bytes,
        Base.SCRATCH: program.scratch_bytes,
    }
    memory = {base: np.zeros(size, np.uint8) for base, size in sizes.items()}
    memory[Base.PROGRAM] = np.frombuffer(program.image, np.uint8)
    machine = Machine(program.arch, memory, check=check, compute=False)
    machine.fill(program.setup.offset, program.setup.count)
    return machine.run(program.infer.offset, program.infer.count)
