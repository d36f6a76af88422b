"""A problem in YAML (docs/explore.md): every message names file, line and entry."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from codesign import arch_file, boards
from codesign.arch import PRESETS, Arch, preset
from codesign.explore import hardware, search
from codesign.explore.problem import (
    MEASURES,
    SURROGATE,
    Constraints,
    Fidelities,
    Finetune,
    Kind,
    Objective,
    Pattern,
    Problem,
    Search,
    Source,
)
from codesign.explore.space import Parameter, Rule, Value
from codesign.explore.yaml_lines import Section, read
from codesign.quant.calibrate import METHODS

SAMPLERS = (SURROGATE, *search.NAMES)
MAX_VALUES = 4096
"""Most values of one range: more is likely a slip."""
_NAME = re.compile(r"\w[\w.-]*", re.ASCII)
_FUNCTION = re.compile(r"[\w.]+:[\w.]+")


def load(path: Path) -> Problem:
    """The problem in a YAML file.

    Names of the network (channel groups, layers, arguments) are checked later, against the
    network: by ``Problem.space`` and ``codesign.explore.networks``.

    Raises
    ------
    ExplorationError
        The file cannot be read, lacks an entry, has an unknown one, or one with a wrong value.
    """
    top = read(path, "`network`, `space` and more")
    name = top.text("name", path.stem)
    if not _NAME.fullmatch(name):
        raise top.error("name", f"{name!r} becomes part of file names; take letters, digits, _-.")
    source = _source(top.section("network", required=True), path.parent)
    space = top.section("space", required=True)
    constraints_at = top.section("constraints")
    base = _base(space.section("hardware"), constraints_at)
    parameters = _hardware(space.section("hardware"), base)
    prune = space.section("prune")
    problem = Problem(
        name=name,
        source=source,
        base=base,
        hardware=parameters,
        rules=_rules(space, base, parameters),
        network=_network(space.section("network"), top),
        quantize=_quantize(space.section("quantize")),
        channels=_patterns(prune.section("channels"), "channels"),
        blocks=_patterns(prune.section("blocks"), "blocks"),
        constraints=_constraints(constraints_at, base.board),
        objectives=_objectives(top.section("objectives", required=True)),
        search=_search(top.section("search")),
        fidelities=_fidelities(top.section("fidelities")),
        multiple=prune.count("multiple", 1),
        path=path,
        lines=top.lines,
    )
    for section in (prune, space, top):
        section.finish()
    return problem


def _source(at: Section, folder: Path) -> Source:
    weights = at.take("weights")
    if weights is not None:
        weights = folder / at.text("weights")
        if not weights.is_file():
            raise at.error("weights", f"no file is called {str(weights)!r}")
    source = Source(
        model=_function(at, "model"),
        data=_function(at, "data"),
        train=None if at.take("train") is None else _function(at, "train"),
        arguments=_arguments(at.section("arguments")),
        data_arguments=_arguments(at.section("data_arguments")),
        weights=weights,
    )
    at.finish()
    return source


def _function(at: Section, name: str) -> str:
    text = at.text(name)
    if not _FUNCTION.fullmatch(text):
        raise at.error(name, f"must be `module:function`, not {text!r}")
    return text


def _arguments(at: Section) -> dict[str, Value]:
    for name, value in at.entries.items():
        if not isinstance(value, str | int | float | bool):
            raise at.error(name, f"must be a number, text, true or false, not {value!r}")
    return dict(at.entries)


# --- the space -----------------------------------------------------------------------------------


def _base(at: Section, constraints: Section) -> Arch:
    """The architecture whose fields the space varies, for the constraint's board."""
    name = at.take("base")
    board = constraints.take("board")
    if board is not None:
        constraints.one_of("board", board, tuple(boards.BOARDS))
    if name is None:
        if board is None:
            raise constraints.error(
                "board",
                "is missing; name a board, or a preset as the "
                f"hardware's `base` ({', '.join(PRESETS)})",
            )
        return preset(boards.board(board).preset)
    try:
        base = arch_file.find(at.text("base"))
    except (TypeError, ValueError) as error:
        raise at.error("base", str(error)) from error
    return base if board in (None, base.board) else _moved(at, base, board)


def _moved(at: Section, base: Arch, board: str) -> Arch:
    """The base on another board than its own: its clock and bus are what that board's preset and
    memory port allow, or the space's."""
    target = boards.board(board)
    fastest, widest = preset(target.preset).clock_mhz, target.processor.memory_bits
    for field, most in (("clock_mhz", fastest), ("dma_bits", widest)):
        if getattr(base, field) > most and field not in at.entries:
            raise at.error(
                "base",
                f"{base.name!r} has {field} {getattr(base, field):g}, made for {base.board}; "
                f"{board} takes {most:g} at most: add `{field}: {most:g}` beside it",
            )
    return base.replace(
        board=board,
        clock_mhz=min(base.clock_mhz, fastest),
        dma_bits=min(base.dma_bits, widest),
    )


def _hardware(at: Section, base: Arch) -> tuple[Parameter, ...]:
    at.take("base")
    found = []
    for field in hardware.FIELDS:
        if (value := at.take(field)) is not None:
            values = _values(at, field, value)
            for one in values:
                _check_hardware(at, base, field, one)
            found.append(Parameter(f"hardware.{field}", values))
    at.finish()
    return hardware.completed(base, found)


def _check_hardware(at: Section, base: Arch, field: str, value: Value) -> None:
    try:
        hardware.check_value(base, field, value)
    except (TypeError, ValueError) as error:
        raise at.error(field, str(error)) from error
    board = boards.board(base.board)
    fastest = preset(board.preset).clock_mhz
    if field == "clock_mhz" and float(value) > max(fastest, base.clock_mhz):
        raise at.error(
            field,
            f"{value} is above the {fastest:g} MHz that {board.name}'s preset is made for: "
            "nothing here predicts whether a faster design closes its timing",
        )
    if field == "dma_bits" and int(value) > board.processor.memory_bits:
        raise at.error(
            field,
            f"{value} is wider than {board.name}'s memory port; at most "
            f"{board.processor.memory_bits}",
        )


def _rules(space: Section, base: Arch, parameters: tuple[Parameter, ...]) -> tuple[Rule, ...]:
    found = hardware.rules(base, parameters)
    for rule in found:
        if not any(map(any, rule.allowed)):
            raise space.error(
                rule.second, f"none of its values goes with any of {rule.first}; add one that does"
            )
    return found


def _network(at: Section, top: Section) -> tuple[Parameter, ...]:
    fixed = top.section("network").section("arguments").entries
    found = []
    for name, value in at.entries.items():
        if name in fixed:
            raise at.error(
                name,
                f"is fixed as {fixed[name]!r} by network.arguments.{name} in line "
                f"{at.lines[f'network.arguments.{name}']}; keep one of them",
            )
        values = _values(at, name, value)
        found.append(Parameter(f"network.{name}", values, _ordered(values)))
    return tuple(found)


def _quantize(at: Section) -> tuple[Parameter, ...]:
    value = at.take("method")
    at.finish()
    if value is None:
        return ()
    values = _values(at, "method", value)
    for one in values:
        at.one_of("method", one, METHODS)
    return (Parameter("quantize.method", values, ordered=False),)


def _patterns(at: Section, kind: Kind) -> tuple[Pattern, ...]:
    found = []
    for pattern, value in at.entries.items():
        together = False
        if isinstance(value, dict) and "values" in value:
            inner = at.section(pattern)
            together = inner.take("together", False)
            if not isinstance(together, bool):
                raise inner.error("together", f"must be true or false, not {together!r}")
            value = inner.take("values")
            inner.finish()
        values = _values(at, pattern, value)
        for one in values:
            if not 0 <= at.number(pattern, one) < 1:
                raise at.error(pattern, f"{one!r} is no share: 0 keeps all, 0.5 removes half")
        found.append(Pattern(pattern, tuple(float(one) for one in values), together))
    return tuple(found)


def _values(at: Section, name: str, value: Any) -> tuple[Value, ...]:
    """A list, one value alone, or a range {min, max, step} or {min, max, factor}; ascending."""
    if isinstance(value, dict):
        return _range(at, name)
    values = value if isinstance(value, list) else [value]
    if not values:
        raise at.error(name, "has no value; give at least one")
    kinds = {_kind(one) for one in values}
    if len(kinds) > 1 or None in kinds:
        raise at.error(name, f"must be numbers, or texts, or true and false, not {value!r}")
    if len(set(values)) < len(values):
        raise at.error(name, f"lists a value twice: {value!r}")
    return tuple(sorted(values) if kinds == {"number"} else values)


def _kind(value: Any) -> str | None:
    if isinstance(value, bool | str):
        return type(value).__name__
    return "number" if isinstance(value, int | float) and math.isfinite(value) else None


def _ordered(values: tuple[Value, ...]) -> bool:
    return all(_kind(value) == "number" for value in values)


def _range(at: Section, name: str) -> tuple[Value, ...]:
    inner = at.section(name)
    low, high = (inner.number(end, inner.take(end, required=True)) for end in ("min", "max"))
    step, factor = inner.take("step"), inner.take("factor")
    inner.finish()
    if low > high:
        raise inner.error("max", f"{high} is below min, {low}")
    if step is not None and factor is not None:
        raise inner.error("factor", "stands beside a step; give one of them")
    if factor is not None:
        if inner.number("factor", factor) <= 1 or low <= 0:
            raise inner.error(
                "factor", f"{factor} of min {low}: takes a factor above 1 and a min above 0"
            )
        count = math.floor(math.log(high / low, factor) + 1e-9) + 1
        return _listed(inner, "factor", count, lambda n: low * factor**n)
    step = inner.number("step", 1 if step is None else step)
    if step <= 0:
        raise inner.error("step", f"{step} must be above 0")
    return _listed(
        inner, "step", math.floor((high - low) / step + 1e-9) + 1, lambda n: low + n * step
    )


def _listed(at: Section, name: str, count: int, value: Callable[[int], float]) -> tuple[Value, ...]:
    if count > MAX_VALUES:
        raise at.error(name, f"makes {count} values, more than {MAX_VALUES}; take a larger one")
    found = (value(number) for number in range(count))
    return tuple(one if isinstance(one, int) else round(one, 9) for one in found)


# --- what is asked of designs --------------------------------------------------------------------


def _constraints(at: Section, board: str) -> Constraints:
    at.take("board")
    found = Constraints(board, _bounds(at.section("max")), _bounds(at.section("min")))
    at.finish()
    return found


def _bounds(at: Section) -> Mapping[str, float]:
    for name in MEASURES:
        if (value := at.take(name)) is not None and at.number(name, value) < 0:
            raise at.error(name, f"must be 0 or more, not {value!r}")
    at.finish()
    share = at.entries.get("accuracy", 0)
    if share > 1:
        raise at.error("accuracy", f"{share} is no share, 0..1; {share}% is {share / 100}")
    return dict(at.entries)


def _objectives(at: Section) -> tuple[Objective, ...]:
    found = []
    for name in at.entries:
        if name in MEASURES:
            way = at.one_of(name, at.take(name), ("max", "min"))
            found.append(Objective(name, way == "max"))
    for name in MEASURES:
        at.take(name)
    at.finish()
    if not found:
        raise at.error("accuracy", "or another measure is missing: a front needs an objective")
    return tuple(found)


def _search(at: Section) -> Search:
    default = Search()
    minutes = at.take("minutes")
    if minutes is not None and at.number("minutes", minutes) <= 0:
        raise at.error("minutes", f"must be above 0, not {minutes!r}")
    trials = None if at.take("trials") is None else at.count("trials", None)
    found = Search(
        sampler=at.one_of("sampler", at.take("sampler", default.sampler), SAMPLERS),
        seed=at.count("seed", default.seed, least=0),
        population=at.count("population", default.population, least=2),
        trials=trials,
        minutes=minutes,
    )
    at.finish()
    return found


def _fidelities(at: Section) -> Fidelities:
    finetune = None
    if at.take("finetune") is not None:
        inner = at.section("finetune")
        finetune = Finetune(inner.count("steps", None), inner.count("top", None))
        inner.finish()
    found = Fidelities(finetune, at.count("finalists", 0, least=0))
    at.finish()
    return found
