"""Writes what `classify.py` and `digits.ipynb` need into one folder to copy to a board: an overlay,
two programs of different size for it, and images with their labels.

    python prepare.py --board pynq-z2 -o digits

The overlay is for a simulated board; for a real one, `codesign overlay` tells how to build its .bit
file, which goes into the folder in the place of the other.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

import numpy as np

from bitstreams import write_overlay
from codesign.arch import Arch, preset
from codesign.boards import BOARDS
from codesign.compiler import compile as compile_graph
from codesign.quant.torch_module import quantize_module
from codesign.zoo import digits
from codesign.zoo.demo import EPOCHS, WIDTH, train
from codesign.zoo.digits import TEST_IMAGES, Digits
from sim.device import verilog

CALIBRATION_IMAGES = 256


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Prepare the digits example.")
    parser.add_argument("--board", choices=tuple(BOARDS), default="pynq-z2")
    parser.add_argument("--arch", help="a preset; by default the board's own")
    parser.add_argument("--width", type=int, default=WIDTH, help="channels of the wide network")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of each training")
    parser.add_argument("--images", type=int, default=TEST_IMAGES, help="to classify")
    parser.add_argument("-o", "--output", type=Path, default=Path("digits"))
    return parser.parse_args()


def write_programs(data: Digits, arch: Arch, width: int, epochs: int, folder: Path) -> None:
    """Train, quantise and compile the network at full and at half width."""
    for name, channels in (("wide", width), ("narrow", width // 2)):
        model = train(data, epochs=epochs, width=channels)
        graph = quantize_module(model, data.train_images[:CALIBRATION_IMAGES], name=name)
        program = compile_graph(graph, arch)
        program.save(folder / f"{name}.prog")
        print(f"{name}.prog: {channels} channels, {program.predicted_cycles:,} cycles predicted")


def main() -> None:
    given = options()
    board = BOARDS[given.board]
    arch = preset(given.arch or board.preset).replace(board=board.name)
    given.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        overlay = write_overlay(arch, board.name, Path(folder), verilog(arch))
        for path in (overlay.simulated_bit, overlay.simulated_bit.with_suffix(".hwh")):
            shutil.copy(path, given.output)
    data = digits.load()
    images, labels = data.test_images[: given.images], data.test_labels[: given.images]
    np.savez(given.output / "images.npz", images=images, labels=labels)
    write_programs(data, arch, given.width, given.epochs, given.output)
    print(f"in {given.output}: {', '.join(sorted(path.name for path in given.output.iterdir()))}")


if __name__ == "__main__":
    main()
