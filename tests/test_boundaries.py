"""The arrows between packages (docs/architecture.md), and files that stay readable."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("codesign", "hw", "sim", "host", "bitstreams")
MAX_LINES = 450

ALLOWED = {
    "codesign": {"codesign"},
    "codesign.cli": set(PACKAGES),  # the top layer: commands need everything
    "hw": {"hw", "codesign"},
    "sim": {"sim", "hw", "codesign", "host", "bitstreams"},
    "bitstreams": {"bitstreams", "hw", "codesign"},
    "host": {"host"},
}
"""Module prefix -> packages of ours that it may import; the longest matching prefix counts."""

TORCH = (
    "codesign.quant",
    "codesign.prune",
    "codesign.explore",
    "codesign.zoo",
    "codesign.frontend.torch",
    "codesign.cli",
)
"""Module prefixes that may import torch."""

HARDWARE_LIBRARIES = {"amaranth", "cocotb"}
"""Only hw and sim may import these."""


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules() -> dict[str, Path]:
    return {
        module_name(path): path
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
    }


def imports(tree: ast.AST, module: str, is_package: bool) -> Iterator[str]:
    """Absolute names of everything imported anywhere in the tree, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parent = module.split(".")
            parent = parent[: len(parent) - node.level + is_package] if node.level else []
            yield ".".join([*parent, *filter(None, [node.module])])


def imported_by(module: str, path: Path) -> set[str]:
    tree = ast.parse(path.read_text(), filename=str(path))
    return set(imports(tree, module, path.name == "__init__.py"))


def under(module: str, prefix: str) -> bool:
    return module == prefix or module.startswith((prefix + ".", prefix + "_"))


def rule(module: str) -> set[str]:
    return ALLOWED[max((p for p in ALLOWED if under(module, p)), key=len)]


def host_may_import(module: str) -> set[str]:
    """The driver needs numpy alone; the device body for boards under PYNQ imports PYNQ as well."""
    return {"host", "numpy", *sys.stdlib_module_names} | (
        {"pynq"} if module == "host.pynq" else set()
    )


def breaches(module: str, imported: set[str]) -> list[str]:
    """What a module imports against the rules."""
    found = []
    for name in sorted(imported):
        top = name.split(".")[0]
        if top in PACKAGES and top not in rule(module):
            found.append(f"{module} imports {name}; it may import {sorted(rule(module))}")
        if top == "torch" and not any(under(module, prefix) for prefix in TORCH):
            found.append(f"{module} imports torch; only {', '.join(TORCH)} may")
        if top in HARDWARE_LIBRARIES and not under(module, "hw") and not under(module, "sim"):
            found.append(f"{module} imports {name}; only hw and sim may")
        if under(module, "host") and top not in host_may_import(module):
            found.append(f"{module} imports {name}; host needs numpy alone")
    return found


@pytest.mark.parametrize("module", modules())
def test_imports_follow_the_arrows(module: str) -> None:
    assert not breaches(module, imported_by(module, modules()[module]))


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("codesign.compiler.lower", "hw.top"),
        ("codesign.cost.cycles", "hw"),
        ("codesign.reference.graph", "host.driver"),
        ("codesign.compiler.emit", "torch"),
        ("codesign.arch", "amaranth.lib.data"),
        ("hw.pe", "sim.device"),
        ("host.driver", "codesign.isa"),
        ("host.driver", "yaml"),
    ],
)
def test_a_breach_is_found(module: str, name: str) -> None:
    assert len(breaches(module, {name})) >= 1


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("codesign.cli.demo", "sim.device"),
        ("codesign.frontend.torch_export", "torch.export"),
        ("sim.device", "host.device"),
        ("host.driver", "zipfile"),
    ],
)
def test_an_arrow_is_allowed(module: str, name: str) -> None:
    assert not breaches(module, {name})


def test_relative_imports_are_resolved() -> None:
    tree = ast.parse("from ..hw import pe\nfrom . import tile\nfrom .emit import x")
    assert set(imports(tree, "codesign.compiler.lower", False)) == {
        "codesign.hw",
        "codesign.compiler",
        "codesign.compiler.emit",
    }
    assert set(imports(tree, "codesign.compiler", True)) == {
        "codesign.hw",
        "codesign.compiler",
        "codesign.compiler.emit",
    }


def test_files_stay_readable() -> None:
    sizes = {name: len(path.read_text().splitlines()) for name, path in modules().items()}
    assert {n: s for n, s in sizes.items() if s > MAX_LINES} == {}, (
        f"above {MAX_LINES} lines: a second concept may want a file of its own"
    )
