"""Programs stay as they are, bit for bit, whatever makes compiling them faster."""

import hashlib

import numpy as np
import pytest

from codesign.arch import preset
from codesign.compiler import compile
from tests.compiler.networks import ARCHS, TINY, random_layer, random_network, resnet8
from tests.compiler.topologies import resnet18

PYNQ_Z2 = preset("pynq_z2")
OTHER_ARCHS = {
    "pynq_z2": PYNQ_Z2,
    "zcu104": preset("zcu104"),
    "kv260": preset("kv260"),
    "drain": PYNQ_Z2.replace(pixels=12, drain=3),
    "wide": PYNQ_Z2.replace(pixels=5, in_channels=16, out_channels=16, dma_bits=128),
    "planes": PYNQ_Z2.replace(
        pixels=4, drain=4, in_channels=4, out_channels=16, act_depth=4096, wgt_depth=9000,
        param_depth=2048, tap_depth=4096,
    ),
}  # fmt: skip
DIGESTS = {
    "resnet8 pynq_z2": "fc4b58f8318b300b",
    "resnet8 zcu104": "dbbe48259e23eb30",
    "resnet8 kv260": "432680cb36d39cb2",
    "resnet8 drain": "631d696e6b6b266a",
    "resnet8 wide": "91b9a31786085d5f",
    "resnet8 planes": "9a4528891fc08511",
    "random 0": "deb1e0d180e13744fca9ee5c9ee286a6",
    "random 10": "bcf62cf838c81c4bca9162a939040c93",
    "random 1": "c4a61c21c30f89fce5fc7d4ab0a837ae",
    "random 11": "d29496ce2effe0720f0dd281d7d52200",
    "random 2": "a717513389c77da405d012b0de43d75e",
    "random 12": "3ae54e2d0321f76cbb9e73c046e52886",
    "random 3": "478cf85724292d85d46322fbd0a9626f",
    "random 13": "dc9267ec30a11d69f806d90f19cb0d2c",
    "random 4": "b1abae2f50dde97698680b7ca9334f66",
    "random 14": "74333b51e2fb7dd071cc2dd9fe1892e0",
    "random 5": "a89f183c3e95fa190b7bfa5cc2da25be",
    "random 15": "43b6366c519d36c113415796d36cec07",
    "streamed": "dae91a12502946e3",
}
CHANGED = "programs have changed: if that is meant, put the new digests here"


def digest(program):
    """Of the image, and of the exact cycles of an inference."""
    content = hashlib.sha256(program.image + str(program.predicted_cycles).encode())
    return content.hexdigest()[:16]


@pytest.mark.parametrize("arch", OTHER_ARCHS)
def test_resnet8(arch):
    program = compile(resnet8(np.random.default_rng(0)), OTHER_ARCHS[arch])
    assert digest(program) == DIGESTS[f"resnet8 {arch}"], CHANGED


@pytest.mark.parametrize("arch", range(len(ARCHS)))
def test_random_networks(arch):
    for seed in (arch, 10 + arch):
        programs = [compile(made(seed), ARCHS[arch]) for made in (random_layer, random_network)]
        assert "".join(map(digest, programs)) == DIGESTS[f"random {seed}"], CHANGED


def test_a_streamed_network():
    arch = TINY.replace(act_depth=128, wgt_depth=256, tap_depth=256)
    program = compile(resnet18(np.random.default_rng(0), 32, 8, 10), arch)
    assert program.scratch_bytes  # maps lie in DRAM
    assert digest(program) == DIGESTS["streamed"], CHANGED
