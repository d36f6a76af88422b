"""Makes the data set; ``python -m benchmarks.resources.measure`` continues where it stopped.

Three files, with a JSON object in each line: ``architectures.jsonl`` says of what units each
architecture consists, ``units.jsonl`` what each of these takes, ``whole.jsonl`` what Yosys says of
some architectures as a whole. Lines that are there are not made again. Fit afterwards
(``benchmarks.resources.fit``): a test holds that the coefficients are those of the data.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.resources.designs import held_out, train
from benchmarks.resources.units import TOP, Unit, measure, units
from codesign.arch import Arch, preset
from codesign.errors import SynthesisError
from codesign.synth import resources, synthesize, worst_paths
from hw.build import generate_rtlil

HERE = Path(__file__).parent
FAMILIES = ("xc7", "xcup")
DIFFERENT = ("drain", "memories", "counters", "fetch", "load", "save", "trace", "write")
"""Units with memories in LUTs. The others take the same of both families, within 0.1%, and are
measured on xc7 alone."""
LEAST_URAM_DEPTH = 2048
SHARED, ACTIVATIONS = r".*\.array\.lane\d+", "*.act.region*"
BATCH = 7
"""Architectures whose units Yosys gets at once: it takes seconds to begin."""
Line = dict[str, Any]


def lines(name: str) -> list[Line]:
    """All objects of a file; a line that was cut off is left out."""
    path = HERE / name
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def append(name: str, line: Line) -> None:
    with (HERE / name).open("a") as file:
        file.write(json.dumps(line) + "\n")


def in_uram(arch: Arch, family: str) -> bool:
    return family == "xcup" and arch.act_depth >= LEAST_URAM_DEPTH


def generated(arch: Arch) -> str:
    """The design with another's fingerprint, so that units which hold it are equal."""
    one, other = (f"{at.fingerprint:032b}" for at in (arch, preset("tiny")))
    return generate_rtlil(arch).replace(one, other)


def measure_units(archs: Sequence[Arch], families: Sequence[str]) -> None:
    """The units of architectures, as far as they are not known yet."""
    known = {line["arch"]["name"]: line["families"] for line in lines("architectures.jsonl")}
    left = [arch for arch in archs if not set(families) <= set(known.get(arch.name, ()))]
    parts = {arch: units(generated(arch)) for arch in left}
    for family in families:
        for uram in (False, True):
            _measure_new(parts, family, uram)
    for arch, own in parts.items():
        append("architectures.jsonl", {
            "arch": arch.to_dict(), "families": list(families),
            "units": [[part.name, part.key, part.count] for part in own],
        })  # fmt: skip


def _measure_new(parts: dict[Arch, list[Unit]], family: str, uram: bool) -> None:
    done = {(line["family"], line["key"], line["uram"] > 0) for line in lines("units.jsonl")}
    new = {
        part.key: part
        for arch, own in parts.items()
        for part in own
        if (part.name == "act" and in_uram(arch, family) if uram else _own(part, family))
        and (family, part.key, uram) not in done
    }
    if not new:
        return
    took = measure(list(new.values()), family, uram)
    for part, figures in zip(new.values(), took, strict=True):
        append("units.jsonl", {
            "family": family, "unit": part.name, "key": part.key, **_line(figures),
        })  # fmt: skip


def _own(part: Unit, family: str) -> bool:
    return family == "xc7" or part.name in DIFFERENT


def measure_whole(arch: Arch, family: str, kind: str) -> None:
    """One architecture as `codesign bench presets` measures it."""
    if (arch.name, family) in {(at["arch"]["name"], at["family"]) for at in lines("whole.jsonl")}:
        return
    rtlil, uram = generate_rtlil(arch), in_uram(arch, family)
    if family == "xc7":
        netlist = synthesize(rtlil, TOP)
    else:
        ultra = ACTIVATIONS if uram else None
        netlist = synthesize(rtlil, TOP, family=family, shared=SHARED, ultra=ultra)
    append("whole.jsonl", {
        "family": family, "set": kind, **_line(resources(netlist)),
        "logic_levels": worst_paths(netlist)[0].levels, "arch": arch.to_dict(),
    })  # fmt: skip


def _line(took: Any) -> Line:
    figures = dataclasses.asdict(took)
    return {name: figures[name] for name in ("lut", "lutram", "ff", "dsp", "ramb36", "uram")}


def jobs(count: int, judged: int) -> Iterator[tuple[str, Callable[[], None]]]:
    """What to do, in an order in which every beginning is a balanced data set."""
    archs, others = train(count), held_out(judged)
    half, wholes = count // 2, [(other, family) for other in others for family in FAMILIES]
    for part, families in (
        (archs[:half], FAMILIES[:1]), (archs[:half], FAMILIES), (archs[half:], FAMILIES)
    ):  # fmt: skip
        for i in range(0, len(part), BATCH):
            batch = part[i : i + BATCH]
            name = f"units from {batch[0].name} on {' '.join(families)}"
            yield name, lambda b=batch, f=families: measure_units(b, f)
            if wholes and i // BATCH % 2:
                yield _whole(*wholes.pop(0))
    for other, family in wholes:
        yield _whole(other, family)


def _whole(arch: Arch, family: str) -> tuple[str, Callable[[], None]]:
    return f"{arch.name} on {family}", lambda: measure_whole(arch, family, "held out")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=42, help="architectures to fit (default 42)")
    parser.add_argument("--held-out", type=int, default=10, help="to judge by (default 10)")
    arguments = parser.parse_args()
    for name, work in jobs(arguments.count, arguments.held_out):
        start = time.monotonic()
        try:
            work()
            outcome = "done"
        except (RuntimeError, SynthesisError) as error:
            outcome = f"left out: {error}"
        print(f"{time.monotonic() - start:6.1f} s  {name}: {outcome}", flush=True)


if __name__ == "__main__":
    main()
