import numpy as np
import pytest

from host.driver import Accelerator
from host.errors import ProgramFileError
from host.manifest import HostStep
from host.steps import apply
from tests.host.fake import FakeDevice, manifest, write_program

VALUES = np.array([[1.0, 3.0, 2.0], [-2.0, -2.0, 700.0]], np.float32)[:, :, None, None]


def test_softmax_of_the_named_output():
    steps = [HostStep("softmax", "y", {"beta": 2.0})]
    found = apply(steps, "y", VALUES)
    powers = np.exp(2.0 * VALUES[0].astype(np.float64))
    np.testing.assert_allclose(found[0], powers / powers.sum(), rtol=1e-6)
    np.testing.assert_array_equal(found[1, :, 0, 0], [0, 0, 1])
    assert found.dtype == np.float32
    assert apply(steps, "other", VALUES) is VALUES


def test_argmax_behind_a_softmax():
    steps = [HostStep("softmax", "y", {"beta": 1.0}), HostStep("argmax", "y", {})]
    found = apply(steps, "y", VALUES)
    np.testing.assert_array_equal(found, np.array([1, 2])[:, None, None, None])
    assert found.dtype == np.int64


def test_an_unknown_step_is_refused(tmp_path):
    values = manifest(host_steps=[{"op": "sort", "tensor": "y", "parameters": {}}])
    path = write_program(tmp_path / "net.prog", values)
    with pytest.raises(ProgramFileError, match="host step 'sort'; this driver knows softmax"):
        Accelerator(FakeDevice(77)).load(path)


def test_the_driver_does_them_for_real_values_alone(tmp_path):
    step = {"op": "softmax", "tensor": "y", "parameters": {"beta": 1.0}}
    path = write_program(tmp_path / "net.prog", manifest(host_steps=[step]))
    codes = np.random.default_rng(0).integers(-50, 50, (2, 5, 2, 3), np.int8)
    with Accelerator(FakeDevice(77)) as accelerator:
        accelerator.load(path)
        np.testing.assert_array_equal(accelerator.run(codes), codes + 1)
        real = accelerator.run(codes.astype(np.float32))
    assert isinstance(real, np.ndarray)
    np.testing.assert_allclose(real.sum(axis=1), 1, rtol=1e-5)
