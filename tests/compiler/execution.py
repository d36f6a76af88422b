"""Runs a compiled program on the machine reference and compares it with the graph reference."""

import numpy as np

from codesign.isa import Base
from codesign.reference import graph as graph_reference
from codesign.reference.machine import Machine
from host.maps import MapTable, MapView


def random_inputs(graph, rng):
    shapes = {name: (graph.batch, *graph.tensors[name].shape) for name in graph.inputs}
    return {name: rng.integers(-128, 128, shape, np.int8) for name, shape in shapes.items()}


def start(program):
    """A machine that has run part ``setup``, its buffers full of noise."""
    rng = np.random.default_rng(0)
    sizes = {
        Base.INPUT: program.input_bytes,
        Base.OUTPUT: program.output_bytes,
        Base.SCRATCH: program.scratch_bytes,
    }
    buffers = {base: rng.integers(0, 256, size, np.uint8) for base, size in sizes.items()}
    buffers[Base.PROGRAM] = np.frombuffer(program.image, np.uint8)
    machine = Machine(program.arch, buffers)
    machine.run(program.setup.offset, program.setup.count)
    return machine


def _view(layout, machine, base):
    buffer = machine.buffers[base]
    return MapView(MapTable(layout, len(buffer)), buffer)


def infer(machine, program, inputs):
    """Outputs and kept tensors by name, and what the run took."""
    for layout in program.inputs:
        view = _view(layout, machine, Base.INPUT)
        view.clear()
        view.pack(inputs[layout.name])
    run = machine.run(program.infer.offset, program.infer.count)
    results = {at.name: _view(at, machine, Base.OUTPUT).read() for at in program.outputs}
    kept = {name: _view(at, machine, Base.SCRATCH).read() for name, at in program.tensors.items()}
    return results, kept, run


def check(program, rng, runs=1):
    """The machine computes what the graph says, run after run."""
    machine = start(program)
    for _ in range(runs):
        inputs = random_inputs(program.graph, rng)
        expected = graph_reference.run(program.graph, inputs)
        results, kept, run = infer(machine, program, inputs)
        assert set(results) == set(program.graph.outputs)
        for name, value in (*kept.items(), *results.items()):
            np.testing.assert_array_equal(
                value.reshape(expected[name].shape), expected[name], err_msg=name
            )
        assert run.cycles == program.predicted_cycles
    return run
