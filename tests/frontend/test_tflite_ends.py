"""The ends of TFLite files: what inputs and outputs are, and what the host does behind them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.frontend.test_tflite_ops import INPUT, OUTPUT, UNIT, imported, real_weights
from tests.frontend.tflite_builder import Model, conv


def test_an_input_that_is_reshaped_at_once_is_the_map() -> None:
    model = Model()
    flat = model.input((1, 60), **INPUT)
    x = model.op("RESHAPE", [flat], (1, 4, 3, 5), **INPUT)
    w, b, *_ = real_weights(model, (6, 3, 3, 5), 0, 0.05)
    model.outputs = [model.op("CONV_2D", [x, w, b], (1, 2, 1, 6), conv(), **OUTPUT)]
    graph = imported(model).graph
    assert graph.tensors[graph.inputs[0]].shape == (5, 4, 3)


@pytest.mark.parametrize(("dtype", "zero"), [(np.float32, 0), (np.uint8, 121)])
def test_the_ends_become_codes(dtype: Any, zero: int) -> None:
    """QUANTIZE and DEQUANTIZE at the ends only say what the codes stand for."""
    model = Model()
    real = dtype is np.float32
    outer = {"dtype": dtype, "scale": None} if real else {"dtype": dtype, "scale": 0.05}
    x = model.input((1, 4, 3, 5), zero=zero, **outer)
    inner = model.op("QUANTIZE", [x], (1, 4, 3, 5), **INPUT)
    y = model.op("RELU", [inner], (1, 4, 3, 5), **INPUT)
    last = "DEQUANTIZE" if real else "QUANTIZE"
    model.outputs = [model.op(last, [y], (1, 4, 3, 5), zero=zero, **outer)]
    graph = imported(model).graph
    assert [type(op).__name__ for op in graph.ops] == ["Table"]
    assert graph.tensors[graph.inputs[0]].zero_point == -7


def test_host_steps_in_their_order() -> None:
    model = Model()
    x = model.input((1, 12), **INPUT)
    y = model.op("RELU", [x], (1, 12), **INPUT)
    p = model.op("SOFTMAX", [y], (1, 12), ("SoftmaxOptions", {"Beta": 0.5}), **UNIT)
    axis = model.constant("axis", [1], np.int32)
    model.outputs = [model.op("ARG_MAX", [p, axis], (1,), dtype=np.int32, scale=None)]
    result = imported(model)
    assert [(step.op, dict(step.parameters)) for step in result.host_steps] == [
        ("softmax", {"beta": 0.5}),
        ("argmax", {}),
    ]
    assert {step.tensor for step in result.host_steps} == set(result.graph.outputs)
