"""``python -m codesign.synth FILE.il --top NAME``: figures and worst paths of one design."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from codesign.synth import resources, synthesize, worst_paths


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m codesign.synth", description=__doc__)
    parser.add_argument("file", type=Path, help="RTLIL (.il) or Verilog (.v)")
    parser.add_argument("--top", required=True, help="name of the top module")
    parser.add_argument("--paths", type=int, default=5, help="worst paths to print (default 5)")
    arguments = parser.parse_args()
    language = "verilog" if arguments.file.suffix == ".v" else "rtlil"
    netlist = synthesize(arguments.file.read_text(), arguments.top, language)
    figures = dataclasses.asdict(resources(netlist))
    paths = worst_paths(netlist, arguments.paths)
    figures["logic_levels"] = paths[0].levels if paths else 0
    print("  ".join(f"{name} {value}" for name, value in figures.items()))
    for path in paths:
        print(path)


if __name__ == "__main__":
    main()
