"""Program files, as far as a host must know them: the manifest and the memory image.

The file is a zip with ``manifest.json`` and ``image.bin``. Registers, bits and codes of the machine
come from the manifest, and so does what its events cost, so that the driver itself knows none of
them. Both members carry a digest: a file that was cut off or changed is refused.
"""

from __future__ import annotations

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

from host.energy import EnergyModel, Event
from host.errors import ProgramFileError

FORMAT_VERSION = 4
MANIFEST_DIGEST = "manifest_sha256"


@dataclass(frozen=True)
class Part:
    """A run of instructions: byte offset of the first in the image, and their number."""

    offset: int
    count: int


@dataclass(frozen=True)
class MapLayout:
    """Where a network's input or output, ``shape`` (C, H, W), lies in its buffer.

    Channel c, line y, column x of sample b is the byte at
    offset + b*sample_bytes + (c div block)*plane_bytes + phase*phase_bytes
    + (line*pitch + column)*block + c mod block,
    with phase, line, column = 0, y, x, or with ``split`` and f = ``factor``
    phase(y mod f, x mod f), y div f, x div f. phase(i, j) is f*i + j where f is odd; where it is
    even, h = f/2: 4*(h*(i mod h) + j mod h) + 2*(i div h) + j div h.
    With ``fold``, a list of (dy, dx), these channels are the network's at (y*step_y + dy,
    x*step_x + dx), offset after offset, and the zero point outside the map; lines and columns are
    then as many times fewer, rounded up. Codes q stand for scale * (q - zero_point).
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
    fold: tuple[tuple[int, int], ...]
    step: tuple[int, int] = (1, 1)
    factor: int = 2


@dataclass(frozen=True)
class LayerSpan:
    """Instructions [first, last) of part ``infer`` that compute a layer, or a stretch of it;
    ``panel`` counts panels of its columns."""

    name: str
    op: str
    first: int
    last: int
    macs: int
    panel: int = 0


@dataclass(frozen=True)
class HostStep:
    """What the host computes of the real values of output ``tensor`` (``host/steps.py``)."""

    op: str
    tensor: str
    parameters: Mapping[str, float]


@dataclass(frozen=True)
class Manifest:
    """A program's description; ``codesign/artifact.py`` tells its fields."""

    name: str
    identity: int
    isa_version: int
    fingerprint: int
    arch: Mapping[str, Any]
    setup: Part
    infer: Part
    input_bytes: int
    output_bytes: int
    scratch_bytes: int
    inputs: tuple[MapLayout, ...]
    outputs: tuple[MapLayout, ...]
    tensors: Mapping[str, MapLayout]
    layers: tuple[LayerSpan, ...]
    host_steps: tuple[HostStep, ...]
    predicted_cycles: int
    registers: Mapping[str, int]
    counters: tuple[str, ...]
    control: Mapping[str, int]
    status: Mapping[str, int]
    errors: Mapping[int, str]
    units: tuple[str, ...]
    trace_record_bytes: int
    address_bits: int
    alignment: int
    energy: EnergyModel | None

    @property
    def macs_per_cycle(self) -> int:
        """What the array computes at most."""
        arch = self.arch
        return int(arch["pixels"] * arch["in_channels"] * arch["out_channels"])

    @property
    def beat_bytes(self) -> int:
        """Bytes of a beat on the data bus."""
        return int(self.arch["dma_bits"]) // 8


def read_program(path: str | os.PathLike[str]) -> tuple[Manifest, bytes]:
    """The manifest and the image of a program file.

    Raises
    ------
    OSError
        The file cannot be read.
    ProgramFileError
        The file is no program, is damaged, or has another format.
    """
    where, content = repr(os.fspath(path)), Path(path).read_bytes()
    # zipfile and json, and values of another shape, raise a dozen types on damaged content
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            text, image = archive.read("manifest.json"), archive.read("image.bin")
        values = json.loads(text)
        found = values["format"]
    except Exception as error:
        raise ProgramFileError(
            f"{where} is not a program, or half of one ({error!r}); compile the network again"
        ) from error
    if found != FORMAT_VERSION:
        raise ProgramFileError(
            f"{where} has format {found!r}, this driver reads {FORMAT_VERSION}; "
            "compile the network again, with the driver's version"
        )
    try:
        digest, own = values["image_sha256"], values.pop(MANIFEST_DIGEST)
        intact = hashlib.sha256(canonical(values)).hexdigest() == own
        manifest = _manifest(values)
        _check(manifest, len(image))
    except Exception as error:
        raise ProgramFileError(
            f"{where}: the manifest is damaged ({error!r}); compile the network again"
        ) from error
    if not intact:
        raise ProgramFileError(
            f"{where}: the manifest does not match its digest; compile the network again"
        )
    if hashlib.sha256(image).hexdigest() != digest:
        raise ProgramFileError(
            f"{where}: the image does not match its digest; copy or compile the program again"
        )
    return manifest, image


def canonical(values: Mapping[str, Any]) -> bytes:
    """The JSON of which a manifest carries the digest: itself without that entry, keys sorted."""
    return json.dumps(values, sort_keys=True, separators=(",", ":")).encode()


def _manifest(values: Mapping[str, Any]) -> Manifest:
    copied = (
        "name", "isa_version", "fingerprint", "arch", "input_bytes", "output_bytes",
        "scratch_bytes", "predicted_cycles", "registers", "control", "status",
        "trace_record_bytes", "address_bits", "alignment",
    )  # fmt: skip
    return Manifest(
        **{name: values[name] for name in copied},
        identity=values["id"],
        setup=Part(**values["setup"]),
        infer=Part(**values["infer"]),
        inputs=tuple(_layout(at) for at in values["inputs"]),
        outputs=tuple(_layout(at) for at in values["outputs"]),
        tensors={name: _layout(at) for name, at in values["tensors"].items()},
        layers=tuple(LayerSpan(**span) for span in values["layers"]),
        host_steps=tuple(HostStep(**step) for step in values["host_steps"]),
        counters=tuple(values["counters"]),
        errors={code: name for name, code in values["errors"].items()},
        units=tuple(values["units"]),
        energy=_energy(values["energy"]),
    )


def _energy(values: Mapping[str, Any] | None) -> EnergyModel | None:
    if values is None:
        return None
    events = tuple(Event(**event) for event in values["events"])
    return EnergyModel(**{**values, "events": events})


def _check(manifest: Manifest, image_bytes: int) -> None:
    """``ValueError`` where no compiler wrote these values."""
    if manifest.macs_per_cycle < 1 or manifest.beat_bytes < 1:
        raise ValueError(f"arch is {manifest.arch}")
    if manifest.address_bits < 1 or manifest.alignment < 1:
        raise ValueError(f"{manifest.address_bits} bits, alignment {manifest.alignment}")
    for part in (manifest.setup, manifest.infer):
        if part.offset < 0 or part.count < 1 or part.offset >= image_bytes:
            raise ValueError(f"{part} is outside the image's {image_bytes} bytes")
    for layout in (*manifest.inputs, *manifest.outputs, *manifest.tensors.values()):
        if not 0 < layout.scale < math.inf or not -128 <= layout.zero_point <= 127:
            raise ValueError(
                f"map {layout.name!r} has scale {layout.scale}, zero point {layout.zero_point}"
            )
        counts = layout.batch, layout.block, len(layout.fold), *layout.step, layout.factor
        if min(*layout.shape, *counts) < 1:
            raise ValueError(f"map {layout.name!r} is empty")


def _layout(values: Mapping[str, Any]) -> MapLayout:
    channels, height, width = values["shape"]
    fold = tuple((dy, dx) for dy, dx in values["fold"])
    step_y, step_x = values.get("step", (1, 1))
    shape = channels, height, width
    return MapLayout(**{**values, "shape": shape, "fold": fold, "step": (step_y, step_x)})
