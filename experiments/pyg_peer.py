"""PyTorch Geometric's side of the learning suite: the same network from its GATConv layers.

    python experiments/pyg_peer.py PROBLEM.npz THREADS MODE

MODE is "eager", or "compile" for `torch.compile`, which needs a C++ compiler. The script runs where
torch and torch_geometric are, so it imports nothing of ours. Each line read is a number of epochs;
each line written is their result in JSON. An epoch is a training step on one graph and the loss of
another graph. PROBLEM.npz holds `features` and `label` of the two, their `edges` (senders, then
receivers), `class_weights`, `learning_rate`, `shape` (layers, features per head, heads), and under
"network/..." the parameters of `stzjax.learning.models.gat`.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch_geometric.nn import GATConv

_NEGATIVE_SLOPE = 0.2


class Network(nn.Module):
    """Attention layers, then fully connected layers to two logits, with given parameters."""

    def __init__(self, problem: Mapping[str, np.ndarray]):
        """Take over the parameters.

        Args:
          problem: content of the file.
        """
        super().__init__()
        layers, features, heads = map(int, problem["shape"])
        self.attention = nn.ModuleList()
        for layer in range(layers):
            name = f"network/Attention_{layer}"
            convolution = GATConv(
                len(problem[f"{name}/Dense_0/kernel"]),
                features,
                heads,
                concat=layer < layers - 1,
                negative_slope=_NEGATIVE_SLOPE,
                add_self_loops=False,  # The graph has them.
            )
            _copy(convolution.lin.weight, problem[f"{name}/Dense_0/kernel"].T)
            _copy(convolution.att_src, problem[f"{name}/sender"][None])
            _copy(convolution.att_dst, problem[f"{name}/receiver"][None])
            _copy(convolution.bias, problem[f"{name}/bias"])
            self.attention.append(convolution)
        self.hidden = _linear(problem, "network/Dense_0")
        self.last = _linear(problem, "network/Dense_1")

    def forward(self, x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        """Logits (N, 2) of features (N, F) and edges (2, E)."""
        for convolution in self.attention:
            x = functional.mish(convolution(x, edges))
        return self.last(functional.mish(self.hidden(x)))


def _linear(problem: Mapping[str, np.ndarray], name: str) -> nn.Linear:
    kernel = problem[f"{name}/kernel"]
    layer = nn.Linear(*kernel.shape)
    _copy(layer.weight, kernel.T)
    _copy(layer.bias, problem[f"{name}/bias"])
    return layer


@torch.no_grad()
def _copy(parameter: torch.Tensor, value: np.ndarray) -> None:
    if parameter.shape != value.shape:
        raise ValueError(f"GATConv holds {tuple(parameter.shape)} where we hold {value.shape}")
    parameter.copy_(torch.tensor(value))


def trainer(problem: Mapping[str, np.ndarray], mode: str = "eager") -> Callable[[], list[float]]:
    """A function that takes an epoch and returns its losses: before the step, and of the judged."""
    network = Network(problem)
    forward = torch.compile(network) if mode == "compile" else network
    learned, judged = torch.tensor(problem["features"])
    label, truth = torch.tensor(problem["label"]).long()
    edges = torch.tensor(problem["edges"]).long()
    weights = torch.tensor(problem["class_weights"])
    optimiser = torch.optim.Adam(network.parameters(), lr=float(problem["learning_rate"]))

    def epoch() -> list[float]:
        optimiser.zero_grad()
        loss = functional.cross_entropy(forward(learned, edges), label, weight=weights)
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            other = functional.cross_entropy(forward(judged, edges), truth, weight=weights)
        return [loss.item(), other.item()]

    return epoch


def main(path: str, threads: str, mode: str) -> None:
    """Serve epochs until the input ends."""
    torch.set_num_threads(int(threads))
    with np.load(path) as archive:
        epoch = trainer(dict(archive), mode)
    for line in sys.stdin:
        losses, seconds = [], []
        for _ in range(int(line)):
            start = time.perf_counter()
            losses.append(epoch())
            seconds.append(time.perf_counter() - start)
        print(json.dumps({"losses": losses, "seconds": seconds}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
