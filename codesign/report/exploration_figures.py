"""The figures of explored designs: name, unit, and the word that tells where each comes from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """How a value is shown.

    Attributes
    ----------
    label, unit:
        As a reader sees them; an accuracy of 0.9 is 90 %.
    word:
        ``predicted`` (by a model of this machine that is tested against it), ``modelled`` (rests
        on coefficients of physics that nobody measured on this board), ``measured`` (on data),
        ``simulated`` (counted in RTL), ``counted`` (follows from the network alone).
    how:
        What stands behind the word.
    scale, digits:
        The value times ``scale`` is shown with so many decimals, None: four significant digits.
    """

    label: str
    unit: str
    word: str
    how: str
    scale: float = 1.0
    digits: int | None = None


_CYCLES = "by the cycle model in closed form; a verified design's are simulated, counted in its RTL"
_FIT = "by a model fitted to Yosys synthesis, as if the design were built"

FIGURES: dict[str, Figure] = {
    "accuracy": Figure(
        "Accuracy",
        "%",
        "measured",
        "of the int8 network on validation images; the hardware gives the same bits",
        scale=100.0,
        digits=2,
    ),
    "latency_ms": Figure("Latency", "ms", "predicted", f"cycles at the design's clock, {_CYCLES}"),
    "cycles": Figure("Cycles", "", "predicted", _CYCLES),
    "energy_uj": Figure(
        "Energy", "µJ", "modelled", "of the whole board, from events and their coefficients"
    ),
    "lut": Figure("LUT", "", "predicted", _FIT),
    "ff": Figure("FF", "", "predicted", _FIT),
    "dsp": Figure("DSP", "", "predicted", "in closed form, as Yosys maps them"),
    "ramb36": Figure("RAMB36", "", "predicted", "in closed form, as Yosys maps them"),
    "uram": Figure("URAM", "", "predicted", "in closed form, as Yosys maps them"),
    "dram_bytes": Figure("DRAM traffic", "B", "predicted", "of one inference, read and written"),
    "macs": Figure("MACs", "", "counted", "of one inference, as the network has them"),
}
"""Keys of a trial's ``values``, in the order of tables."""

MEASURES = {"ptq": "quantisation", "finetuned": "fine-tuning"}
"""Fidelity of a trial -> what the accuracy was measured after."""
