"""Training-free scores of one forward pass: which units answer to which samples, and how varied a layer's channels are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from robustradar import Bench, Column, Metric, Needs, Outcome, Task, Threat, fixed
from robustradar_baselines import untrained

if TYPE_CHECKING:
    from torch import Tensor, nn

NO_RELU = "no nn.ReLU in the network (functional ones are not seen), and the codes say which of them are on"
ALIKE = "the activation codes of the {n} samples span only {rank} dimensions, so that the determinant is 0; a smaller batch may do"
STILL = "no convolution or linear layer all of whose channels vary"
_EVIDENCE = (
    "the mean rank of effective_rank and meco has τ .76 [.75, .78] over 1,614 networks of one search space, where "
    "parameters have .64 [.62, .66]; between families .44 [.05, .72] over 19 small networks on CIFAR-10, parameters .21 "
    "[−.12, .52], and .15 [−.14, .43] over 34 on digits, parameters .32 [.07, .57]. effective_rank with clean_accuracy and "
    "fgsm_accuracy, the default ranking, has .86 [.85, .86], .26 [−.07, .58] and .64 [.49, .78]."
)


@dataclass(frozen=True)
class Activations(Metric):
    """Effective rank, expressivity, NWOT, SWAP and MeCo of the untrained network, from one forward pass of a batch.

    See docs/baselines.md for the formulas.
    """

    name: str = fixed("activations")
    columns: tuple[Column, ...] = fixed(
        (
            Column("effective_rank", "higher", "1"),
            Column("expressivity", "higher", "1"),
            Column("nwot", "higher", "1"),
            Column("swap", "higher", "1"),
            Column("meco", "higher", "1"),
        )
    )
    evidence: str = fixed(_EVIDENCE)
    batch: untrained.Batch = 64
    repeats: untrained.Repeats = 1

    def needs(self, task: Task, threat: Threat) -> Needs:
        """Nothing."""
        return Needs()

    def measure(self, bench: Bench) -> Mapping[str, Outcome]:
        """No interval for a single draw of the weights."""
        x, _ = bench.splits["train"].spread(self.batch)
        return untrained.averaged(self.columns, bench, self.repeats, lambda network: scores(untrained.on_batches(network), x))


def scores(network: nn.Module, x: Tensor) -> untrained.Found:
    """All columns."""
    import torch
    from torch import nn

    codes, spectra = Codes(len(x)), Spectra()
    handles = [m.register_forward_pre_hook(codes) for m in network.modules() if isinstance(m, nn.ReLU | nn.ReLU6 | nn.LeakyReLU)]
    handles += [layer.register_forward_hook(spectra) for layer in untrained.layers(network)]
    try:
        with torch.no_grad():
            network(x)
    finally:
        for handle in handles:
            handle.remove()
    return {"nwot": codes.nwot(), "swap": codes.swap(), **spectra.scores()}


class Codes:
    """Which units are on for which samples, gathered by a hook before each ReLU.

    Args:
        n: Samples in the batch.
    """

    def __init__(self, n: int) -> None:
        import torch

        self._n = n
        self._kernel = torch.zeros(n, n, dtype=torch.float64)
        self._patterns: list[Tensor] = []

    def __call__(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Adds a layer."""
        import torch

        on = (inputs[0] > 0).reshape(self._n, -1)
        signs = on.float() * 2 - 1
        # c·c' + (1 − c)·(1 − c') counts units that agree: half of (all units + Σ of the signs' products).
        self._kernel += ((signs @ signs.T + signs.shape[1]) / 2).double().cpu()
        words = []
        for part in on.long().split(63):
            words.append((part << torch.arange(len(part), device=part.device)[:, None]).sum(0))
        self._patterns.append(torch.stack(words, 1).cpu())

    def nwot(self) -> float | str:
        """Log-determinant of the kernel of agreements (Mellor et al. 2021)."""
        import torch

        if not self._patterns:
            return NO_RELU
        rank = int(torch.linalg.matrix_rank(self._kernel, hermitian=True))
        if rank < self._n:
            return ALIKE.format(n=self._n, rank=rank)
        return float(torch.linalg.slogdet(self._kernel).logabsdet)

    def swap(self) -> float | str:
        """Distinct patterns of units over the batch (Peng et al. 2024)."""
        import torch

        return float(len(torch.unique(torch.cat(self._patterns), dim=0))) if self._patterns else NO_RELU


class Spectra:
    """Eigenvalues of the channels' covariance and correlation, gathered by a hook after each layer."""

    def __init__(self) -> None:
        self._layers: list[dict[str, float]] = []

    def __call__(self, module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        """Adds a layer: channels are the second axis of convolutions, the last of linear layers."""
        import torch
        from torch import nn

        features = output.reshape(-1, output.shape[-1]) if isinstance(module, nn.Linear) else output.transpose(0, 1).flatten(1).T
        features = (features - features.mean(0)).double()
        covariance = features.T @ features / len(features)
        spread = covariance.diagonal().sqrt()
        if not bool((spread > 0).all()):
            return
        v = torch.linalg.eigvalsh(covariance / spread.outer(spread)).clamp(min=0)
        entropy = float(_entropy(torch.linalg.eigvalsh(covariance).clamp(min=0)))
        self._layers.append({"effective_rank": float(_entropy(v).exp()), "expressivity": entropy, "meco": float(v[0])})

    def scores(self) -> untrained.Found:
        """Every score is summed over layers."""
        names = ("effective_rank", "expressivity", "meco")
        return {name: sum(layer[name] for layer in self._layers) if self._layers else STILL for name in names}


def _entropy(v: Tensor) -> Tensor:
    """Of the shares that values have in their sum, in nats."""
    import torch

    entropy: Tensor = torch.special.entr(v / v.sum()).sum()
    return entropy
