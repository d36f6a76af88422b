"""Power of the board while it works: its own sensors, an external meter, or a meter's log.

Sensors are those of Linux' hwmon, through which pmbus regulators show theirs too
(https://docs.kernel.org/hwmon/sysfs-interface.html): microwatts, milliamperes, millivolts.
"""

from __future__ import annotations

import csv
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, Protocol

from host.report import Report

Read = Callable[[str], str]
"""Content of a file on the board; ``FileNotFoundError`` where there is none of that path."""
Watts = Callable[[], float]

HWMON = "/sys/class/hwmon"
_CHIPS, _SENSORS = 16, 16
"""A board's folders cannot be listed from afar: these numbers are tried."""
_BOARD_CHIPS = ("ina226", "ina219", "ina260", "ina3221", "ina2xx")
"""Chips that measure a supply as a whole; a pmbus regulator measures what it feeds alone."""


class Reading(NamedTuple):
    """Energy, and the time that it was measured over: a meter's own, which may be a little longer
    than what happened between its start and its stop."""

    joules: float
    seconds: float


class Meter(Protocol):
    """What measures energy between two moments."""

    def start(self) -> None:
        """From now on."""

    def stop(self) -> Reading:
        """What was measured since ``start``."""


def read_local(path: str) -> str:
    """A file of the board that this runs on."""
    return Path(path).read_text()


@dataclass(frozen=True)
class Rail:
    """A supply with a sensor: ``power`` is the path of its microwatts, or else ``current`` and
    ``voltage`` are those of its milliamperes and millivolts."""

    chip: str
    label: str
    power: str | None = None
    current: str | None = None
    voltage: str | None = None

    @property
    def name(self) -> str:
        return f"{self.chip}/{self.label}"

    def watts(self, read: Read) -> float:
        """Its power now."""
        if self.power is not None:
            return int(read(self.power)) * 1e-6
        assert self.current is not None
        assert self.voltage is not None
        return int(read(self.current)) * 1e-3 * int(read(self.voltage)) * 1e-3


def find_rails(read: Read = read_local, root: str = HWMON) -> list[Rail]:
    """Every supply that the board measures.

    Parameters
    ----------
    read:
        How files on the board are read; a remote board's device has its own.
    """
    return [rail for chip in range(_CHIPS) for rail in _rails_of(read, f"{root}/hwmon{chip}")]


def _rails_of(read: Read, folder: str) -> Iterator[Rail]:
    chip = _try(read, f"{folder}/name")
    if chip is None:
        return
    found = False
    for number in range(1, _SENSORS):
        path = f"{folder}/power{number}_input"
        if _try(read, path) is not None:
            found = True
            label = _try(read, f"{folder}/power{number}_label") or f"power{number}"
            yield Rail(chip, label, power=path)
    if found:
        return
    volts = {_label(read, folder, "in", n): f"{folder}/in{n}_input" for n in range(_SENSORS)}
    for number in range(1, _SENSORS):
        path = f"{folder}/curr{number}_input"
        if _try(read, path) is not None:
            label = _label(read, folder, "curr", number)
            # pmbus calls a supply's sensors iout1 and vout1; others number them alike
            voltage = volts.get(label.replace("iout", "vout").replace("iin", "vin"))
            yield Rail(chip, label, current=path, voltage=voltage or f"{folder}/in{number}_input")


def _label(read: Read, folder: str, kind: str, number: int) -> str:
    return _try(read, f"{folder}/{kind}{number}_label") or f"{kind}{number}"


def _try(read: Read, path: str) -> str | None:
    try:
        return read(path).strip()
    except ConnectionError:
        raise
    except OSError:  # none there, or one that is off: drivers answer ENODATA, EAGAIN, ENXIO
        return None


def board_rails(rails: Sequence[Rail], names: Sequence[str] = ()) -> list[Rail]:
    """The rails that together are the board's power: those named, or the one that measures all.

    Raises
    ------
    ValueError
        A name is no rail's, or not exactly one rail has a chip that measures a supply as a whole:
        a regulator's output is a part of the board's power, and added to its input counts twice.
    """
    known = ", ".join(rail.name for rail in rails) or "none"
    if names:
        by_name = {rail.name: rail for rail in rails}
        if unknown := [name for name in names if name not in by_name]:
            raise ValueError(f"no rail is called {unknown[0]!r}; there are: {known}")
        return [by_name[name] for name in names]
    whole = [rail for rail in rails if rail.chip.startswith(_BOARD_CHIPS)]
    if len(whole) != 1:
        raise ValueError(
            f"which rails are the board's power is not clear (there are: {known}): name those to "
            "be added; without any, use an external meter"
        )
    return whole


def append_measurement(path: Path, report: Report) -> None:
    """Add a measured report (``Accelerator.measure``) to a table for ``codesign calibrate``.

    Raises
    ------
    ValueError
        The report's energy was not measured, or the table is one of other events.
    """
    energy, model = report.energy, report.model
    if energy is None or model is None or energy.source != "measured":
        raise ValueError(
            f"the energy of {report.program!r} was not measured; take what Accelerator.measure "
            "returns"
        )
    row = {
        "board": model.board, "program": report.program, "seconds": energy.seconds,
        "joules": energy.total_uj * 1e-6, **energy.events,
    }  # fmt: skip
    new = not Path(path).exists()
    if not new:
        with open(path, newline="") as file:
            head = next(csv.reader(file), [])
        if head != list(row):
            raise ValueError(f"{str(path)!r} has other columns than {list(row)}; take a new file")
    with open(path, "a", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)


class SampledMeter:
    """Adds up what a function tells of the power, asked again and again in a thread of its own.

    Parameters
    ----------
    watts:
        The power now: of an external meter, or of rails (``rail_meter``).
    period_s:
        Seconds between two questions.
    clock:
        In seconds.
    """

    def __init__(
        self, watts: Watts, period_s: float = 0.02, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._watts, self._period_s, self._clock = watts, period_s, clock
        self._samples: list[tuple[float, float]] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None

    def start(self) -> None:
        """Begin with a first sample, so that what fails fails here.

        Raises
        ------
        RuntimeError
            The meter runs already.
        """
        if self._thread is not None:
            raise RuntimeError("the meter runs already; stop it first")
        self._samples, self._error = [self._sample()], None
        self._stop.clear()
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()

    def stop(self) -> Reading:
        """What was measured since ``start``; raises what the function raised.

        Raises
        ------
        RuntimeError
            The meter does not run.
        """
        if self._thread is None:
            raise RuntimeError("the meter does not run; start it first")
        self._stop.set()
        self._thread.join()
        self._thread = None
        if self._error is not None:
            raise self._error
        self._samples.append(self._sample())
        begin, end = self._samples[0][0], self._samples[-1][0]
        return Reading(integrate(self._samples, begin, end), end - begin)

    def _loop(self) -> None:
        while not self._stop.wait(self._period_s):
            try:
                self._samples.append(self._sample())
            except Exception as error:
                self._error = error
                return

    def _sample(self) -> tuple[float, float]:
        watts = self._watts()
        return self._clock(), watts


def rail_meter(
    read: Read = read_local, names: Sequence[str] = (), root: str = HWMON, period_s: float = 0.02
) -> SampledMeter:
    """A meter of the board's own sensors: of the rails named, or of the one that measures all."""
    chosen = board_rails(find_rails(read, root), names)
    return SampledMeter(lambda: sum(rail.watts(read) for rail in chosen), period_s)


class CsvMeter:
    """A log that an external meter writes on its own.

    Parameters
    ----------
    path:
        CSV with a head: ``time`` (seconds since 1970, or ISO 8601) and ``watts``, or ``volts`` and
        ``amperes``.
    settle_s:
        Seconds after the end until the log has got there.
    clock:
        Seconds since 1970, as the log tells them.
    """

    def __init__(
        self, path: Path, settle_s: float = 0.0, clock: Callable[[], float] = time.time
    ) -> None:
        self._path, self._settle_s, self._clock = Path(path), settle_s, clock
        self._begin: float | None = None

    def start(self) -> None:
        self._begin = self._clock()

    def stop(self) -> Reading:
        """What was measured since ``start``.

        Raises
        ------
        RuntimeError
            The meter was not started.
        ValueError
            The log is none, or does not reach over the time.
        """
        if self._begin is None:
            raise RuntimeError("the meter does not run; start it first")
        begin, end = self._begin, self._clock()
        self._begin = None
        time.sleep(self._settle_s)
        return Reading(integrate(read_log(self._path), begin, end), end - begin)


def read_log(path: Path) -> list[tuple[float, float]]:
    """(time, watts) of each line of a meter's log, see ``CsvMeter``.

    Raises
    ------
    ValueError
        The file is no such log.
    """
    with open(path, newline="") as file:
        reader = csv.DictReader(file)
        head = set(reader.fieldnames or ())
        if "time" not in head or not ({"watts"} <= head or {"volts", "amperes"} <= head):
            raise ValueError(
                f"{str(path)!r} has columns {sorted(head)}; a meter's log has time and watts, or "
                "time, volts and amperes"
            )
        try:
            return sorted((_time(row["time"]), _watts(row)) for row in reader)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{str(path)!r}, line {reader.line_num}: {error}") from error


def _time(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        # Python 3.10 does not know the Z of UTC
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def _watts(row: dict[str, str]) -> float:
    return float(row["watts"]) if "watts" in row else float(row["volts"]) * float(row["amperes"])


def integrate(samples: Sequence[tuple[float, float]], begin: float, end: float) -> float:
    """Joules from ``begin`` to ``end`` of (time, watts), straight lines between.

    Raises
    ------
    ValueError
        The samples do not reach over that time.
    """
    if len(samples) < 2 or samples[0][0] > begin or samples[-1][0] < end or end <= begin:
        reach = f"{samples[0][0]:.3f} to {samples[-1][0]:.3f}" if samples else "nothing"
        raise ValueError(
            f"power is known from {reach} s, asked for is {begin:.3f} to {end:.3f} s: measure for "
            "longer, or see that the meter's clock is the host's"
        )
    joules = 0.0
    for (t0, w0), (t1, w1) in pairwise(samples):
        a, b = max(t0, begin), min(t1, end)
        if b > a:
            slope = (w1 - w0) / (t1 - t0)
            middle = w0 + slope * ((a + b) / 2 - t0)
            joules += middle * (b - a)
    return joules
