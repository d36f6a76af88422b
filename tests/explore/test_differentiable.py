"""Latency in training loops: values at the choices, gradients against finite differences."""

import pytest
import torch

from codesign.arch import preset
from codesign.explore import choices
from codesign.explore.choices import Choice, LayerChoices
from codesign.explore.differentiable import ExpectedLatency, SmoothLatency
from codesign.explore.latency_table import LatencyTable, latency_table

TINY = preset("tiny")


@pytest.fixture(scope="module")
def mixed() -> LatencyTable:
    """Alternatives, as an architecture search chooses from."""
    body = tuple(
        Choice(8, 8, "mbconv", (kernel, kernel), size=(8, 8), expand=expand, residual=True)
        for kernel in (3, 5)
        for expand in (1, 3)
    )
    return latency_table(
        {
            "stem": LayerChoices("first", (Choice(3, 8, size=(8, 8)), Choice(3, 16, size=(8, 8)))),
            "body": LayerChoices("inner", (*body, Choice(8, 8, "skip", size=(8, 8)))),
            "head": LayerChoices("last", (Choice(8, 10, "linear", (1, 1)),)),
        },
        TINY,
    )


@pytest.fixture(scope="module")
def grids() -> LatencyTable:
    """Channels, and sparsity, in steps of the array."""
    first = [Choice(3, out, size=(8, 8)) for out in choices.steps(TINY, "out_channels", 12)]
    second = [
        Choice(inputs, out, size=(8, 8), sparsity=sparsity)
        for inputs in choices.steps(TINY, "in_channels", 12)
        for out in (4, 8)
        for sparsity in (0.0, 0.5)
    ]
    return latency_table(
        {
            "first": LayerChoices("first", tuple(first)),
            "second": LayerChoices("inner", tuple(second)),
        },
        TINY,
    )


def test_one_choice_of_each_layer_is_the_tables_sum(mixed):
    expected = ExpectedLatency(mixed)
    for body in range(5):
        weights = {
            "stem": torch.tensor([0.0, 1.0], dtype=torch.float64),
            "body": torch.eye(5, dtype=torch.float64)[body],
            "head": torch.ones(1, dtype=torch.float64),
        }
        chosen = {"stem": 1, "body": body, "head": 0}
        assert float(expected(weights)) == pytest.approx(mixed.total(chosen), rel=1e-12)


def test_the_expectation_is_that_of_sampled_networks(mixed):
    probabilities = {
        "stem": torch.tensor([0.25, 0.75], dtype=torch.float64),
        "body": torch.tensor([0.1, 0.2, 0.3, 0.15, 0.25], dtype=torch.float64),
        "head": torch.ones(1, dtype=torch.float64),
    }
    mean = sum(
        float(p * q) * mixed.total({"stem": i, "body": j, "head": 0}, "cycles")
        for i, p in enumerate(probabilities["stem"])
        for j, q in enumerate(probabilities["body"])
    )
    found = ExpectedLatency(mixed, "cycles")(probabilities)
    assert float(found) == pytest.approx(mean, rel=1e-12)


def test_gradients_of_architecture_parameters_are_right(mixed):
    expected = ExpectedLatency(mixed, "cycles")
    torch.manual_seed(0)
    logits = [torch.randn(n, dtype=torch.float64, requires_grad=True) for n in (2, 5, 1)]

    def latency(stem, body, head):
        softmax = [torch.softmax(at, -1) for at in (stem, body, head)]
        return expected(dict(zip(("stem", "body", "head"), softmax, strict=True)))

    assert torch.autograd.gradcheck(latency, logits)
    gradient = torch.autograd.grad(latency(*logits), logits[1])[0]
    slowest = int(torch.from_numpy(mixed.column("body", "cycles")).argmax())
    assert gradient[slowest] > 0 > gradient[4]  # to skip is the quickest


def test_gumbel_samples_in_a_batch_have_a_latency_each(mixed):
    torch.manual_seed(0)
    logits = {"stem": torch.zeros(7, 2), "body": torch.zeros(7, 5), "head": torch.zeros(7, 1)}
    hard = {n: torch.nn.functional.gumbel_softmax(at, hard=True) for n, at in logits.items()}
    found = ExpectedLatency(mixed, "cycles")(hard)
    assert found.shape == (7,)
    chosen = [{n: int(at[i].argmax()) for n, at in hard.items()} for i in range(7)]
    totals = [mixed.total(at, "cycles") for at in chosen]
    assert found.tolist() == pytest.approx(totals, rel=1e-5)


def point(first: float, inputs: float, out: float, sparsity: float) -> dict[str, dict[str, float]]:
    return {
        "first": {"out_channels": first},
        "second": {"in_channels": inputs, "out_channels": out, "sparsity": sparsity},
    }


def tensors(values: dict[str, dict[str, float]]) -> dict[str, dict[str, torch.Tensor]]:
    return {
        layer: {axis: torch.tensor(v, dtype=torch.float64) for axis, v in axes.items()}
        for layer, axes in values.items()
    }


def test_smooth_latency_is_exact_at_every_step(grids):
    smooth = SmoothLatency(grids, "cycles")
    for i, first in enumerate(grids.layers["first"]):
        for j, second in enumerate(grids.layers["second"]):
            at = second.choice
            values = point(first.choice.out_channels, at.in_channels, at.out_channels, at.sparsity)
            expected = grids.total({"first": i, "second": j}, "cycles")
            assert float(smooth(tensors(values))) == pytest.approx(expected, rel=1e-12)


def test_gradients_in_channels_are_right_between_steps(grids):
    smooth = SmoothLatency(grids, "cycles")
    torch.manual_seed(1)
    for _ in range(20):
        low, high = torch.tensor([4.2, 4.2, 4.2, 0.05]), torch.tensor([11.8, 11.8, 7.8, 0.45])
        start = (low + (high - low) * torch.rand(4)).double().requires_grad_()

        def latency(at):
            second = dict(zip(("in_channels", "out_channels", "sparsity"), at[1:], strict=True))
            return smooth({"first": {"out_channels": at[0]}, "second": second})

        assert torch.autograd.gradcheck(latency, start, eps=1e-4)
        gradient = torch.autograd.grad(latency(start), start)[0]
        assert (gradient[1:3] > 0).all()
        assert gradient[3] < 0


def test_beyond_the_ends_latency_stays(grids):
    smooth = SmoothLatency(grids)
    inside, beyond = (smooth(tensors(point(c, c, o, s))) for c, o, s in ((4, 8, 0), (1, 99, -1)))
    assert float(inside) == float(beyond)


def test_whole_tensors_are_evaluated_at_once(grids):
    smooth = SmoothLatency(grids, "cycles")
    many = {
        layer: {axis: torch.full((3, 2), value) for axis, value in axes.items()}
        for layer, axes in point(6.0, 8.0, 5.0, 0.25).items()
    }
    one = smooth(tensors(point(6.0, 8.0, 5.0, 0.25)))
    assert smooth(many).shape == (3, 2)
    assert smooth(many).unique().tolist() == pytest.approx([float(one)], rel=1e-6)


def test_training_finds_the_widest_network_within_a_budget(grids):
    """What the loss of a training loop does: latency beyond the budget costs, width pays."""
    smooth, budget = SmoothLatency(grids, "cycles"), 1100.0
    width = torch.tensor(4.5, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([width], lr=0.02)
    dense, out = torch.tensor(0.0), torch.tensor(8.0)

    def latency():
        second = {"in_channels": width, "out_channels": out, "sparsity": dense}
        return smooth({"first": {"out_channels": width}, "second": second})

    low, high = (float(smooth(tensors(point(c, c, 8.0, 0.0)))) for c in (4.5, 11.5))
    assert low < budget < high
    for _ in range(600):
        optimizer.zero_grad()
        loss = -0.01 * width + 0.01 * torch.relu(latency() - budget)
        loss.backward()
        optimizer.step()
    assert float(latency().detach()) == pytest.approx(budget, rel=0.03)


def test_wrong_weights_are_refused(mixed, grids):
    expected, smooth = ExpectedLatency(mixed), SmoothLatency(grids)
    with pytest.raises(ValueError, match="layer 'body' is missing; the table has stem, body, head"):
        expected({"stem": torch.ones(2), "head": torch.ones(1)})
    with pytest.raises(ValueError, match=r"'body' has 5 choices; its weights are of shape \[4\]"):
        expected({"stem": torch.ones(2), "body": torch.ones(4), "head": torch.ones(1)})
    given = tensors(point(4, 4, 4, 0))
    with pytest.raises(ValueError, match="layer 'third' is not in the table"):
        smooth(given | {"third": {}})
    given["second"].pop("sparsity")
    with pytest.raises(ValueError, match=r"'second' has axes \['in_channels', 'out_channels', "):
        smooth(given)


def test_choices_that_are_no_grid_have_no_smooth_latency(mixed, grids):
    with pytest.raises(ValueError, match="layer 'body' differ in op, between whose values nothing"):
        SmoothLatency(mixed)
    missing = {**grids.layers, "second": grids.layers["second"][:-1]}
    torn = LatencyTable(grids.arch, missing, grids.positions)
    with pytest.raises(
        ValueError, match="not all combinations of in_channels, out_channels, spars"
    ):
        SmoothLatency(torn)
