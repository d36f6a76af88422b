"""Architecture search for digits with the accelerator's latency in the loss.

    python latency_search.py --arch tiny --price 40

Two layers of the network are mixtures of choices, as in FBNet: Gumbel-softmax of architecture
parameters weighs them, the loss is cross-entropy + price * latency in ms, and gradients reach
weights and architecture parameters together. At price 0 accuracy alone decides.
"""

import argparse
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn import functional

from codesign import arch_file
from codesign.explore.choices import Choice, LayerChoices, shown
from codesign.explore.differentiable import ExpectedLatency
from codesign.explore.estimate import cost
from codesign.explore.latency_table import latency_table
from codesign.zoo import digits

SIZE, BATCH, RATE = (8, 8), 64, 4e-3
TEMPERATURE = 5.0, 0.5
"""Of the Gumbel-softmax, at first and at last."""
LAYERS = {
    "stem": LayerChoices("first", (Choice(1, 8, size=SIZE),)),
    "body": LayerChoices(
        "inner",
        (
            Choice(8, 8, kernel=(5, 5), size=SIZE),
            Choice(8, 8, kernel=(3, 3), size=SIZE),
            Choice(8, 8, "mbconv", expand=2, size=SIZE),
            Choice(8, 8, "skip", size=SIZE),
        ),
    ),
    "strided": LayerChoices(
        "inner",
        (
            Choice(8, 16, kernel=(5, 5), stride=(2, 2), size=SIZE),
            Choice(8, 16, kernel=(3, 3), stride=(2, 2), size=SIZE),
            Choice(8, 16, "mbconv", expand=2, stride=(2, 2), size=SIZE),
        ),
    ),
    "pool": LayerChoices("inner", (Choice(16, 16, "avg_pool", (4, 4), (4, 4), (4, 4)),)),
    "head": LayerChoices("last", (Choice(16, 10, "linear", (1, 1)),)),
}


def module(choice: Choice) -> nn.Module:
    """A choice as torch computes it."""
    if choice.op == "skip":
        return nn.Identity()
    if choice.op == "avg_pool":
        return nn.AvgPool2d(choice.kernel, choice.stride)
    if choice.op == "linear":
        return nn.Sequential(nn.Flatten(), nn.Linear(choice.in_channels, choice.out_channels))
    if choice.op == "mbconv":
        wide = choice.in_channels * choice.expand
        return nn.Sequential(
            _conv(choice.in_channels, wide, (1, 1)), nn.ReLU(),
            _conv(wide, wide, choice.kernel, choice.stride, wide), nn.ReLU(),
            _conv(wide, choice.out_channels, (1, 1)),
        )  # fmt: skip
    return nn.Sequential(
        _conv(choice.in_channels, choice.out_channels, choice.kernel, choice.stride), nn.ReLU()
    )


def _conv(
    inputs: int,
    outputs: int,
    kernel: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
    groups: int = 1,
) -> nn.Module:
    padding = kernel[0] // 2
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class Mixture(nn.Module):
    """The searched network: ``weights`` tells how much of each choice is in it."""

    def __init__(self) -> None:
        super().__init__()
        self.choices = nn.ModuleDict(
            {name: nn.ModuleList(map(module, at.choices)) for name, at in LAYERS.items()}
        )
        self.parameters_of = nn.ParameterDict(
            {name: torch.zeros(len(at.choices)) for name, at in LAYERS.items()}
        )

    def weights(self, temperature: float) -> dict[str, torch.Tensor]:
        """A sample of the Gumbel-softmax."""
        return {
            name: functional.gumbel_softmax(self.parameters_of[name], temperature)
            for name in LAYERS
        }

    def forward(self, x: torch.Tensor, weights: dict[str, torch.Tensor]) -> torch.Tensor:
        for name, modules in self.choices.items():
            x = sum(w * made(x) for w, made in zip(weights[name], modules, strict=True))
        return x

    def chosen(self) -> dict[str, int]:
        """The number of each layer's foremost choice."""
        return {name: int(self.parameters_of[name].argmax()) for name in LAYERS}

    def derived(self) -> nn.Module:
        """The network of the foremost choices."""
        return nn.Sequential(*(self.choices[name][at] for name, at in self.chosen().items()))


def search(latency: ExpectedLatency, price: float, epochs: int, seed: int) -> Mixture:
    """Train weights and architecture parameters; ``price`` is loss per unit of latency."""
    torch.manual_seed(seed)
    model = Mixture()
    optimizer = torch.optim.Adam(
        [
            {"params": list(model.choices.parameters()), "lr": RATE},
            {"params": list(model.parameters_of.parameters()), "lr": 5 * RATE},
        ]
    )
    for epoch in range(epochs):
        cooled = epoch / max(1, epochs - 1)
        temperature = TEMPERATURE[0] * (TEMPERATURE[1] / TEMPERATURE[0]) ** cooled
        for images, labels in batches(seed):
            weights = model.weights(temperature)
            loss = functional.cross_entropy(model(images, weights), labels)
            step(optimizer, loss + price * latency(weights))
    return model


def train(network: nn.Module, epochs: int, seed: int) -> None:
    """Train the derived network's weights on."""
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
    for _ in range(epochs):
        for images, labels in batches(seed):
            step(optimizer, functional.cross_entropy(network(images), labels))


def batches(seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The training images in a random order."""
    data = digits.load(seed)
    images, labels = torch.from_numpy(data.train_images), torch.from_numpy(data.train_labels)
    for batch in torch.randperm(len(images)).split(BATCH):
        yield images[batch], labels[batch]


def step(optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--arch", default="tiny", help="a preset or a YAML file")
    parser.add_argument("--price", type=float, default=40.0, help="loss per millisecond")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)  # layers are small: more threads wait for each other
    arch = arch_file.find(given.arch)
    table = latency_table(LAYERS, arch)
    model = search(ExpectedLatency(table), given.price, given.epochs, given.seed)
    network, data = model.derived(), digits.load(given.seed)
    train(network, given.epochs, given.seed)
    network.eval()
    with torch.no_grad():
        found = network(torch.from_numpy(data.test_images)).argmax(1).numpy()
    for name, number in model.chosen().items():
        row = table.layers[name][number]
        print(f"{name:8} {shown(row.choice):20} {row.latency_ms:.4f} ms")
    whole = cost(network, arch, torch.from_numpy(data.test_images[:1]))
    print(f"accuracy {(found == data.test_labels).mean():.1%}")
    print(f"latency  {table.total(model.chosen()):.4f} ms by the table, {whole.latency_ms:.4f} ms "
          "as a whole, both predicted")  # fmt: skip


if __name__ == "__main__":
    main()
