"""The cocotb regression: every component and the top level, as generated Verilog, at their ports.

``python -m sim.cocotb_runner`` runs all benches, ``--filter REGEX`` those whose name matches.
A bench is a module of ``sim.benches`` with cocotb tests and a function ``component(arch)``.
"""

from __future__ import annotations

import argparse
import importlib
import re
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cocotb_tools.config
from amaranth.back import verilog
from cocotb_tools.runner import get_runner

from codesign.arch import preset
from sim.verilator import BuildError, Model, build

TOP = "bench_top"
RESULTS_ROOT = Path("build/cocotb")
SEED = 1
"""cocotb's own; the benches' random data have seeds of their own."""

TINY = preset("tiny")
ARCHS = {
    "tiny": TINY,
    "wide": TINY.replace(name="wide", pixels=4, out_channels=8, drain=2, dma_bits=128),
}
"""``wide`` has what ``tiny`` lacks: two planes, several lanes a block, a bus of 128 bits."""


@dataclass(frozen=True)
class Bench:
    """A bench module and the architecture that its component is made for."""

    module: str
    arch: str

    @property
    def name(self) -> str:
        return f"{self.module}[{self.arch}]"


BENCHES = (
    *(
        Bench(module, arch)
        for module in ("array", "post", "calc", "load", "save", "fetch", "trace")
        for arch in ARCHS
    ),
    Bench("tokens", "tiny"),
    Bench("registers", "tiny"),
    Bench("top", "tiny"),
    Bench("splitter", "tiny"),
    Bench("zynq", "tiny"),
)


@dataclass(frozen=True)
class Result:
    """One cocotb test; ``failure`` holds its message, or is empty."""

    bench: str
    test: str
    seconds: float
    failure: str


def simulator(bench: Bench, cache: Path | None = None) -> Path:
    """The executable that simulates a bench's component under cocotb, from the cache if it can."""
    module = importlib.import_module(f"sim.benches.{bench.module}")
    libraries = cocotb_tools.config.libs_dir
    model = Model(
        verilog.convert(module.component(ARCHS[bench.arch]), name=TOP),
        TOP,
        (cocotb_tools.config.share_dir / "lib" / "verilator" / "verilator.cpp",),
        shared=False,
        verilate=("--vpi", "--public-depth", "1"),
        link=(f"-Wl,-rpath,{libraries}", f"-L{libraries}", "-lcocotbvpi_verilator"),
        fast=("-O1",),
    )
    return build(model, cache)


def run(bench: Bench) -> list[Result]:
    """Build and run one bench; cocotb's log goes to standard output."""
    directory = (RESULTS_ROOT / bench.name).absolute()
    directory.mkdir(parents=True, exist_ok=True)
    executable = directory / TOP
    executable.unlink(missing_ok=True)
    executable.symlink_to(simulator(bench))
    results = directory / "results.xml"
    results.unlink(missing_ok=True)
    get_runner("verilator").test(
        test_module=f"sim.benches.{bench.module}",
        hdl_toplevel=TOP,
        hdl_toplevel_lang="verilog",
        build_dir=directory,
        test_dir=directory,
        results_xml=str(results),
        seed=SEED,
        plusargs=[f"+arch={bench.arch}"],
    )
    return list(_read(bench, results))


def _read(bench: Bench, path: Path) -> Iterable[Result]:
    cases = list(ElementTree.parse(path).iter("testcase"))
    if not cases:
        yield Result(bench.name, "no test ran", 0.0, "cocotb found no test")
    for case in cases:
        problems = [*case.iter("failure"), *case.iter("error")]
        message = "; ".join(p.get("error_msg") or p.get("message") or "failed" for p in problems)
        yield Result(bench.name, case.get("name", "?"), float(case.get("time", 0)), message)


def write_junit(results: Sequence[Result], path: Path) -> None:
    """All results as one JUnit file."""
    failures = sum(bool(result.failure) for result in results)
    suite = ElementTree.Element(
        "testsuite", name="cocotb", tests=str(len(results)), failures=str(failures)
    )
    for result in results:
        case = ElementTree.SubElement(
            suite,
            "testcase",
            classname=result.bench,
            name=result.test,
            time=f"{result.seconds:.3f}",
        )
        if result.failure:
            ElementTree.SubElement(case, "failure", message=result.failure)
    path.parent.mkdir(parents=True, exist_ok=True)
    ElementTree.ElementTree(suite).write(path, encoding="unicode", xml_declaration=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the regression; the exit status is 0 only if every test passed."""
    parser = argparse.ArgumentParser(prog="python -m sim.cocotb_runner", description=__doc__)
    parser.add_argument("--filter", default="", metavar="REGEX", help="benches whose name matches")
    options = parser.parse_args(arguments)
    chosen = [bench for bench in BENCHES if re.search(options.filter, bench.name)]
    if not chosen:
        names = ", ".join(bench.name for bench in BENCHES)
        parser.error(f"no bench matches {options.filter!r}; there are {names}")
    results: list[Result] = []
    begin = time.perf_counter()
    for bench in chosen:
        try:
            results += run(bench)
        except (BuildError, RuntimeError, OSError) as error:
            results.append(Result(bench.name, "build and start", 0.0, str(error)))
    write_junit(results, RESULTS_ROOT / "results.xml")
    _summarise(results, time.perf_counter() - begin)
    return int(any(result.failure for result in results))


def _summarise(results: Sequence[Result], seconds: float) -> None:
    width = max(len(f"{result.bench} {result.test}") for result in results)
    for result in results:
        verdict = "FAIL" if result.failure else "pass"
        print(f"{verdict}  {f'{result.bench} {result.test}':{width}}  {result.seconds:7.2f} s")
        if result.failure:
            print(f"      {result.failure}")
    failed = sum(bool(result.failure) for result in results)
    print(f"{len(results)} tests, {failed} failed, {seconds:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
