"""Classifies images on a PYNQ board, or on a simulated one: it cannot tell.

    python classify.py digits --program wide.prog --timeline timeline.json

The folder is `prepare.py`'s. On the board itself there is nothing to set; from another computer,
PYNQ_REMOTE_DEVICES names the board.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from host.device import Device
from host.driver import Accelerator
from host.pynq import PynqDevice
from host.report import Report


def overlay_in(folder: Path) -> Path:
    """The folder's one overlay."""
    found = sorted(folder.glob("*.bit"))
    if len(found) != 1:
        raise SystemExit(f"{folder} holds {len(found)} .bit files; leave the board's overlay alone")
    return found[0]


def traced(device: Device, program: Path, inputs: np.ndarray) -> Report:
    """What one inference takes, layer by layer: its record costs some cycles."""
    with Accelerator(device, trace=True) as accelerator:
        accelerator.load(program)
        accelerator.run(inputs)
        return accelerator.report()


def save_timeline(report: Report, program: Path, target: Path) -> None:
    """A traced run as a file for ui.perfetto.dev; this needs the package codesign beside host."""
    from codesign.artifact import Program
    from codesign.isa import Unit
    from codesign.reference.trace import TraceRecord
    from codesign.report.timeline import timeline
    from codesign.report.trace import Execution

    loaded = Program.load(program)
    loaded = replace(loaded, arch=loaded.arch.replace(clock_mhz=report.clock_hz / 1e6))
    spans = [TraceRecord(Unit[at.unit], at.index, at.start, at.end) for at in report.trace]
    target.write_text(json.dumps(timeline(loaded, Execution.of(loaded, spans))))


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Classify digits on a board.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--program", default="wide.prog", help="in the folder")
    parser.add_argument("--timeline", type=Path, help="where to write a Perfetto timeline")
    return parser.parse_args()


def main() -> None:
    given = options()
    program = given.folder / given.program
    data = np.load(given.folder / "images.npz")
    with PynqDevice(overlay_in(given.folder)) as device:
        with Accelerator(device) as accelerator:
            accelerator.load(program)
            logits = accelerator.run(data["images"])
        right = (logits[:, :, 0, 0].argmax(axis=1) == data["labels"]).mean()
        print(f"{len(logits)} images on {device.name}: {right:.1%} right")
        report = traced(device, program, data["images"][:1])
    print(report)
    if given.timeline:
        save_timeline(report, program, given.timeline)
        print(f"{given.timeline} opens in ui.perfetto.dev")


if __name__ == "__main__":
    main()
