"""Where metrics are tried: small data, small networks and a store of its own, under the host's own execution."""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from robustradar import data as datum
from robustradar import host, registry
from robustradar import plan as planning
from robustradar.catalog import Catalog
from robustradar.conformance import toy
from robustradar.contract.dataset import Data
from robustradar.execute import Execution
from robustradar.plan import Plan
from robustradar.progress import Silent
from robustradar.provenance import engine
from robustradar.store import Store
from robustradar.training.device import DeviceData
from robustradar.values import Outcome, Ref, Study, Task, Threat, Weights

if TYPE_CHECKING:
    from torch import nn

_NOBODY = Ref("conformance/nobody", (), "", "conformance/nobody")


def catalog(plugins: Sequence[str] = (), *lent: toy.Lent) -> Catalog:
    """Everything that is installed or given, and the kit's own world."""
    return Catalog((*host.load(tuple(plugins)), toy.plugin(*lent)), registry.load().aliases)


@dataclass(frozen=True, eq=False)
class Laboratory:
    """Data, and what is known of them.

    Attributes:
        catalog: With the kit's world in it.
        data: What networks are trained and measured on.
        threat: The study's.
    """

    catalog: Catalog
    data: Data
    threat: Threat

    @property
    def task(self) -> Task:
        """The facts of the data."""
        return datum.task(self.data, Ref("conformance/toy", (), "", "conformance/toy"))

    def plan(self, metric: Ref, candidates: Sequence[str], weights: Mapping[str, Weights] | None = None) -> Plan:
        """One metric on some candidates, with one seed.

        Raises:
            UsageError: The metric needs an attack that is not there or cannot do the task.
            PluginError: Its `needs` fails.
        """
        known = self.catalog
        study = Study(
            name="conformance",
            candidates=tuple(known.resolve("architecture", text, "conformance") for text in candidates),
            task=self.task,
            threat=self.threat,
            attack=known.resolve("attack", "conformance/step", "conformance"),
            recipe=known.resolve("recipe", "conformance/brief", "conformance"),
            metrics=(metric,),
            ranker=_NOBODY,
            reporters=(),
            seeds=(0,),
            weights=weights or {},
        )
        return planning.make(study, known, engine())

    def execution(self, store: Path, size: int = 16) -> Execution:
        """What running a plan takes; `size` samples a batch when measuring."""
        return Execution(self.catalog, DeviceData.of(self.data, self.task, torch.device("cpu"), size), Store(store), Silent())


def measured(
    metric: str, network: nn.Module, data: Data, eps: float = 0.1, *, norm: float = math.inf, plugins: Sequence[str] = ()
) -> dict[str, Outcome]:
    """What a metric says of a network whose answer is known: for an author's own tests.

    The network is taken as it is, as `--weights` takes one; no fit is trained, and nothing is put before it.

    Args:
        metric: ``plugin/name``, with parameters where they matter.
        network: From [N, *shape] to [N, outputs]; its inputs are the data's own.
        data: What it is measured on; see `patterns` for some that are made on the spot.
        eps: The threat's strength.
        norm: The threat's order.
        plugins: Files or modules beside the installed plugins.

    Returns:
        An outcome for every column.

    Raises:
        UsageError: The metric is unknown, or needs an attack that cannot do the task.
        DataError: The data could only give wrong numbers.

    Example:
        >>> import torch
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
        >>> measured("baselines/parameters", network, patterns())["parameters"].value
        51.0
    """
    from safetensors.torch import save_file

    datum.check(data, "measured: data")
    known = catalog(plugins, toy.Lent(make=lambda: network))
    laboratory = Laboratory(known, data, Threat(norm, eps, data.bounds))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "lent.safetensors"
        save_file({name: value.detach().contiguous().clone() for name, value in network.state_dict().items()}, file)
        weights = Weights(hashlib.sha256(file.read_bytes()).hexdigest(), str(file))
        ref = known.resolve("metric", metric, "measured")
        plan = laboratory.plan(ref, ["conformance/lent"], {"conformance/lent": weights})
        executed = laboratory.execution(Path(folder) / "store").run(plan)
        return dict(executed.outcomes[plan.measurements[0].key])


def patterns(shape: tuple[int, ...] = (1, 4, 4), classes: int = 3) -> Data:
    """Noisy images of a few patterns in [0, 1], the same at every call: 48 to train on, 25 to evaluate on, 12 held out."""
    return toy.classification(shape, classes)
