"""A compiled program: the accelerator's memory image, what the host must know to feed it, and the
graph it computes.

One file (zip): ``manifest.json``, ``image.bin`` (instructions, weights, parameters, taps and tables
as they lie in the PROGRAM buffer) and ``graph.npz`` (the quantised graph, for the graph reference).
The host reads the first two only, and takes everything it must know of the machine from the first.

``manifest.json`` is one object:

- ``format``: FORMAT_VERSION; a reader refuses any other. ``name``: the network's.
- ``arch``: the parameters of ``Arch``; ``fingerprint``, ``isa_version``: as the registers of the
  same name read on the hardware that the program is for; ``id``: what register ID reads.
- ``image_sha256``, ``graph_sha256``: hexadecimal digests of the other two members;
  ``manifest_sha256``: that of the manifest without this entry, as JSON with sorted keys and no
  spaces.
- ``setup``, ``infer``: {``offset``, ``count``} as ``Part``: PART_OFFSET and PART_COUNT.
- ``input_bytes``, ``output_bytes``, ``scratch_bytes``: sizes of the buffers (0: none is needed).
- ``inputs``, ``outputs``: lists of ``MapLayout``, each an object with that class's fields;
  ``tensors``: tensor name -> ``MapLayout`` in the SCRATCH buffer.
- ``layers``: list of ``LayerSpan``. ``host_steps``: list of ``HostStep``, in their order.
- ``predicted_cycles``, ``seed``, ``versions``.
- ``registers``: name -> byte offset, every register of ``codesign.registers``; ``counters``: names
  of the 64-bit counters, each a pair ``<name>_LOW``, ``<name>_HIGH``.
- ``control``: {``start``, ``reset``, ``acknowledge``} and ``status``: {``busy``, ``done``,
  ``error``, ``resetting``}: bit masks of those two registers.
- ``errors``: name -> value of register ERROR_CODE. ``units``: unit names in the order of trace
  records. ``trace_record_bytes``: the size of one.
- ``address_bits``, ``alignment``: where buffers may lie.
- ``energy``: ``EnergyModel`` as an object, or null where the board has no coefficients.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from codesign import ir, isa, registers
from codesign.arch import ISA_VERSION, Arch
from codesign.arith import INT8_MAX, INT8_MIN
from codesign.cost.energy import EnergyModel
from codesign.errors import ProgramError
from codesign.ir import Graph
from codesign.report import files

FORMAT_VERSION = 4
MANIFEST_DIGEST = "manifest_sha256"
MANIFEST, IMAGE, GRAPH = "manifest.json", "image.bin", "graph.npz"

_OPS: Mapping[str, type[Any]] = {
    op.__name__: op
    for op in (
        ir.Conv2d, ir.MaxPool2d, ir.AvgPool2d, ir.Add, ir.Table, ir.Flatten, ir.Upsample,
    )
}  # fmt: skip
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""Zip's earliest date: equal programs become equal files."""


@dataclass(frozen=True)
class Part:
    """A run of instructions in the image: ``offset`` in bytes, ``count`` in instructions, BEGIN
    and END included."""

    offset: int
    count: int


@dataclass(frozen=True)
class MapLayout:
    """Where a network's input or output lies in its DRAM buffer.

    Channel c, line y, column x of sample b is the byte at
    offset + b*sample_bytes + (c div block)*plane_bytes + phase*phase_bytes
    + (line*pitch + column)*block + c mod block,
    with phase, line, column = 0, y, x, or with ``split`` and f = ``factor``
    phase(y mod f, x mod f), y div f, x div f. phase(i, j) is f*i + j where f is odd; where it is
    even, h = f/2: 4*(h*(i mod h) + j mod h) + 2*(i div h) + j div h.

    ``fold`` lists (dy, dx) offsets: the accelerator's channels at (y, x) are the network's channels
    at (step_y*y + dy, step_x*x + dx), offset after offset, zero point outside the map; ((0, 0),) is
    the plain map. With ``step`` the accelerator's map has as many times fewer lines and columns,
    rounded up. ``shape`` is the network's own (C, H, W); where the network ends in a Flatten, the
    shape before.
    """

    name: str
    shape: tuple[int, int, int]
    batch: int
    scale: float
    zero_point: int
    offset: int
    block: int
    pitch: int
    split: bool
    phase_bytes: int
    plane_bytes: int
    sample_bytes: int
    fold: tuple[tuple[int, int], ...] = ((0, 0),)
    step: tuple[int, int] = (1, 1)
    factor: int = 2


@dataclass(frozen=True)
class LayerSpan:
    """The instructions [first, last) of part ``infer`` that compute one layer.

    ``macs`` is the work of the whole batch; a layer whose samples run one after another has a span
    of the same name for each stretch of its instructions, with that stretch's share of the work.
    ``panel`` counts the panels of columns that a layer is cut into.
    """

    name: str
    op: str
    first: int
    last: int
    macs: int
    panel: int = 0


@dataclass(frozen=True)
class HostStep:
    """What the host computes of the real values of output ``tensor``, over its channels.

    ``op`` "softmax": exp(beta * x), normalised, ``beta`` in ``parameters``. "argmax": the index of
    the largest value. int8 codes stay what the accelerator wrote.
    """

    op: str
    tensor: str
    parameters: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Program:
    """Everything that ``compile`` makes. ``*_bytes`` are buffer sizes."""

    name: str
    arch: Arch
    graph: Graph
    image: bytes
    setup: Part
    infer: Part
    inputs: tuple[MapLayout, ...]
    outputs: tuple[MapLayout, ...]
    input_bytes: int
    output_bytes: int
    scratch_bytes: int
    layers: tuple[LayerSpan, ...]
    tensors: Mapping[str, MapLayout]
    """Tensors that a debug build saves to SCRATCH: where ``check`` finds them."""
    predicted_cycles: int
    seed: int
    versions: Mapping[str, str]
    host_steps: tuple[HostStep, ...] = ()
    energy: EnergyModel | None = None
    """What an inference costs on the architecture's board; None where that is not known."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the program to one file, whole or not at all; folders on the way are made."""
        graph = _graph_to_bytes(self.graph)
        manifest = _manifest(self, graph)
        manifest[MANIFEST_DIGEST] = manifest_digest(manifest)
        text = json.dumps(manifest, indent=1)
        members = ((MANIFEST, text.encode()), (IMAGE, self.image), (GRAPH, graph))
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for name, data in members:
                archive.writestr(zipfile.ZipInfo(name, _EPOCH), data, zipfile.ZIP_DEFLATED)
        files.write_bytes(Path(path), file.getvalue())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Program:
        """Read a program that ``save`` wrote.

        Raises
        ------
        OSError
            The file cannot be read.
        ProgramError
            The file is no program, is damaged, or was written in another version's format.
        """
        where, content = os.fspath(path), Path(path).read_bytes()
        # zipfile, json, numpy and the classes below raise a dozen types on damaged content
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                text, image, graph = (archive.read(name) for name in (MANIFEST, IMAGE, GRAPH))
            manifest = json.loads(text)
        except Exception as error:
            raise ProgramError(
                f"{where!r} is not a program ({error}); compile the network again"
            ) from error
        _check(manifest, image, graph, where)
        try:
            return _program(manifest, image, _graph_from_bytes(graph))
        except Exception as error:
            raise ProgramError(
                f"{where!r}: the manifest is damaged ({error}); compile the network again"
            ) from error


def manifest_digest(manifest: Mapping[str, Any]) -> str:
    """Hexadecimal digest of a manifest that has no entry for its own yet."""
    canonical = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _manifest(program: Program, graph: bytes) -> dict[str, Any]:
    plain = ("name", "input_bytes", "output_bytes", "scratch_bytes", "predicted_cycles", "seed")
    return {
        "format": FORMAT_VERSION,
        **{name: getattr(program, name) for name in plain},
        "arch": program.arch.to_dict(),
        "fingerprint": program.arch.fingerprint,
        "isa_version": ISA_VERSION,
        "id": registers.MAGIC,
        "image_sha256": hashlib.sha256(program.image).hexdigest(),
        "graph_sha256": hashlib.sha256(graph).hexdigest(),
        "setup": dataclasses.asdict(program.setup),
        "infer": dataclasses.asdict(program.infer),
        "inputs": [dataclasses.asdict(layout) for layout in program.inputs],
        "outputs": [dataclasses.asdict(layout) for layout in program.outputs],
        "layers": [dataclasses.asdict(span) for span in program.layers],
        "host_steps": [dataclasses.asdict(step) for step in program.host_steps],
        "tensors": {name: dataclasses.asdict(at) for name, at in program.tensors.items()},
        "versions": dict(program.versions),
        "registers": registers.OFFSETS,
        "counters": list(registers.COUNTERS),
        "control": {
            "start": registers.CONTROL_START,
            "reset": registers.CONTROL_RESET,
            "acknowledge": registers.CONTROL_ACKNOWLEDGE,
        },
        "status": {
            "busy": registers.STATUS_BUSY,
            "done": registers.STATUS_DONE,
            "error": registers.STATUS_ERROR,
            "resetting": registers.STATUS_RESETTING,
        },
        "errors": {code.name: int(code) for code in isa.ErrorCode},
        "units": [unit.name for unit in isa.Unit],
        "trace_record_bytes": registers.TRACE_RECORD_BYTES,
        "address_bits": registers.ADDRESS_BITS,
        "alignment": registers.ALIGNMENT,
        "energy": program.energy.to_dict() if program.energy else None,
    }


def _check(manifest: Any, image: bytes, graph: bytes, path: str) -> None:
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT_VERSION:
        found = manifest.get("format") if isinstance(manifest, dict) else None
        raise ProgramError(
            f"{path!r} has format {found!r}, this version reads {FORMAT_VERSION}; "
            "compile the network again"
        )
    own = manifest.pop(MANIFEST_DIGEST, None)
    if manifest_digest(manifest) != own:
        raise ProgramError(
            f"{path!r}: the manifest does not match its digest; compile the network again"
        )
    if manifest.get("isa_version") != ISA_VERSION:
        raise ProgramError(
            f"{path!r} is for instruction set {manifest.get('isa_version')!r}, "
            f"not {ISA_VERSION}; compile the network again"
        )
    for name, data in (("image", image), ("graph", graph)):
        if hashlib.sha256(data).hexdigest() != manifest.get(f"{name}_sha256"):
            raise ProgramError(
                f"{path!r}: the {name} does not match its digest; compile the network again"
            )


def _program(manifest: Mapping[str, Any], image: bytes, graph: Graph) -> Program:
    arch = Arch(**manifest["arch"])
    if arch.fingerprint != manifest["fingerprint"]:
        raise ValueError(f"architecture {arch.name!r} has another fingerprint")
    plain = ("name", "input_bytes", "output_bytes", "scratch_bytes", "predicted_cycles", "seed")
    return Program(
        **{name: manifest[name] for name in plain},
        arch=arch,
        graph=graph,
        image=image,
        setup=Part(**manifest["setup"]),
        infer=Part(**manifest["infer"]),
        inputs=tuple(_layout(at) for at in manifest["inputs"]),
        outputs=tuple(_layout(at) for at in manifest["outputs"]),
        layers=tuple(LayerSpan(**span) for span in manifest["layers"]),
        tensors={name: _layout(at) for name, at in manifest["tensors"].items()},
        versions=manifest["versions"],
        host_steps=tuple(HostStep(**step) for step in manifest["host_steps"]),
        energy=EnergyModel.from_dict(manifest["energy"]) if manifest["energy"] else None,
    )


def _layout(values: Mapping[str, Any]) -> MapLayout:
    shape = tuple(values["shape"])
    fold = tuple((dy, dx) for dy, dx in values["fold"])
    step_y, step_x = values["step"]
    layout = MapLayout(**{**values, "shape": shape, "fold": fold, "step": (step_y, step_x)})
    if not 0 < layout.scale < math.inf or not INT8_MIN <= layout.zero_point <= INT8_MAX:
        raise ValueError(
            f"map {layout.name!r} has scale {layout.scale}, zero point {layout.zero_point}"
        )
    return layout


# --- the graph -----------------------------------------------------------------------------------
def _graph_to_bytes(graph: Graph) -> bytes:
    """An npz whose entry ``graph`` is JSON; arrays are entries of their own, named there."""
    arrays: dict[str, Any] = {}
    ops = []
    for index, op in enumerate(graph.ops):
        values: dict[str, Any] = {"kind": type(op).__name__}
        for field in dataclasses.fields(op):
            value = getattr(op, field.name)
            if isinstance(value, np.ndarray):
                key = f"{index}.{field.name}"
                arrays[key] = value
                value = {"array": key}
            elif isinstance(value, ir.Window):
                value = dataclasses.asdict(value)
            values[field.name] = value
        ops.append(values)
    text = json.dumps({
        "name": graph.name,
        "batch": graph.batch,
        "tensors": {key: dataclasses.asdict(tensor) for key, tensor in graph.tensors.items()},
        "ops": ops,
        "inputs": graph.inputs,
        "outputs": graph.outputs,
        "origin": dict(graph.origin),
    })  # fmt: skip
    file = io.BytesIO()
    np.savez(file, graph=np.frombuffer(text.encode(), np.uint8), **arrays)
    return file.getvalue()


def _graph_from_bytes(data: bytes) -> Graph:
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        arrays = dict(file)
    values = json.loads(arrays["graph"].tobytes())
    tensors = {
        key: ir.Tensor(**{**tensor, "shape": tuple(tensor["shape"])})
        for key, tensor in values["tensors"].items()
    }
    return Graph(
        name=values["name"],
        batch=values["batch"],
        tensors=tensors,
        ops=tuple(_op(op, arrays) for op in values["ops"]),
        inputs=tuple(values["inputs"]),
        outputs=tuple(values["outputs"]),
        origin=values["origin"],
    )


def _tuple(values: list[Any]) -> tuple[Any, ...]:
    """What JSON has made a list of, in all depths."""
    return tuple(_tuple(at) if isinstance(at, list) else at for at in values)


def _op(values: dict[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> ir.Op:
    fields = {}
    for name, value in values.items():
        if name == "window":
            value = ir.Window(**{key: tuple(pair) for key, pair in value.items()})
        elif isinstance(value, dict):
            value = arrays[value["array"]]
        elif isinstance(value, list):
            value = _tuple(value)
        fields[name] = value
    op: ir.Op = _OPS[fields.pop("kind")](**fields)
    return op
