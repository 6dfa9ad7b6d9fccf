"""A study's candidates on one batch each: whether they can do what the study needs, and what a batch costs. Nothing is trained or kept."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustradar import forecast as forecasts
from robustradar import guard
from robustradar.analysis import ByCurvature
from robustradar.contract.metric import Metric
from robustradar.contract.recipe import Recipe
from robustradar.errors import Failure
from robustradar.forecast import Forecast
from robustradar.report import terminal
from robustradar.screening import Prepared
from robustradar.values import Ref

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from robustradar.execute import Execution
    from robustradar.training.device import DeviceData

_TIMES = 3
# Operations, by their names in autograd's graph, whose first derivative jumps: second derivatives do not see it.
_KINKS = {"Relu": "ReLU", "LeakyRelu": "LeakyReLU", "Prelu": "PReLU", "Hardtanh": "ReLU6", "Threshold": "ReLU", "MaxPool": "max-pooling"}


@dataclass(frozen=True)
class BatchCost:
    """What one batch takes: milliseconds, and the highest number of bytes in use where it is known, on CUDA."""

    ms: float
    bytes: int | None


@dataclass(frozen=True)
class Examination:
    """What was found of a candidate.

    Attributes:
        candidate: Its label.
        parameters: Number of trainable ones.
        batch: Samples of the batch, as the recipe trains with.
        forward: A pass without gradients, in evaluation mode.
        backward: A pass and the weights' gradient, in training mode.
        product: A Hessian times a vector, its graph included.
        derivatives: The way to second derivatives: ``exact``, ``gauss-newton``, ``finite-differences`` or ``none``.
        notes: What is to be known, in sentences.
        obstacles: What the study needs and the candidate cannot do.
        seconds: About how long its training takes, all networks of the study together; None: not known, or nothing is to be trained.
    """

    candidate: str
    parameters: int | None = None
    batch: int | None = None
    forward: BatchCost | None = None
    backward: BatchCost | None = None
    product: BatchCost | None = None
    derivatives: str | None = None
    notes: tuple[str, ...] = ()
    obstacles: tuple[str, ...] = ()
    seconds: float | None = None


def examine(prepared: Prepared, *, store: Path, device: str = "auto") -> tuple[tuple[Examination, ...], Forecast]:
    """Builds and tries every candidate, and forecasts the study as `robustradar plan` does.

    Args:
        prepared: The study and its plan.
        store: Folder of finished work, which shortens the forecast.
        device: Where to compute.

    Raises:
        UsageError: The device is not there.
        StoreError: The store cannot be written.
    """
    from robustradar.execute import Execution
    from robustradar.progress import Silent
    from robustradar.store import Store
    from robustradar.training.device import DeviceData, threads
    from robustradar.training.device import device as device_of

    study, catalog = prepared.study, prepared.catalog
    data = DeviceData.of(prepared.data, study.task, device_of(device))
    execution = Execution(catalog, data, Store(store), Silent())
    curved = tuple(m.label for m in study.metrics if isinstance(catalog.bound("metric", m, Metric), ByCurvature))
    batch = min(catalog.bound("recipe", study.recipe, Recipe).batch, len(data.splits["train"]))
    with threads(study.task):
        found = [_examined(execution, candidate, batch, curved) for candidate in study.candidates]
    ahead = forecasts.forecast(prepared, store=store, device=device)
    return tuple(_foreseen(one, ahead) for one in found), ahead


def _examined(execution: Execution, candidate: Ref, batch: int, curved: tuple[str, ...]) -> Examination:
    """One candidate, as far as it gets."""
    culprit = execution.catalog.culprit("architecture", candidate)
    found = Examination(candidate.label)
    try:
        network = execution.network(candidate, 0)
        with guard.generators_restored():
            found = guard.call(culprit, lambda: _passes(found, network, execution.data, batch))
            found = guard.call(culprit, lambda: _curvature(found, network, execution.data, batch, curved))
    except Failure as failure:
        return dataclasses.replace(found, obstacles=(failure.reason,))
    return found


def _passes(found: Examination, network: nn.Module, data: DeviceData, batch: int) -> Examination:
    """First derivatives and what they take.

    Raises:
        Failure: There are none to train by.
    """
    import torch

    weights = [p for p in network.parameters() if p.requires_grad]
    if not weights:
        raise Failure("", "has no weights to train")
    x, y = data.splits["train"].spread(batch)
    found = dataclasses.replace(found, parameters=sum(p.numel() for p in weights), batch=len(x))
    kinks = _kinks(network.eval()(x))
    inputs = _input_gradient(network, data, x[:2], y[:2])

    def forward() -> None:
        with torch.no_grad():
            network(x)

    def backward() -> None:
        network.zero_grad(set_to_none=True)
        _loss(network, data, x, y).backward()

    found = dataclasses.replace(found, forward=_timed(forward, data.where))
    network.train()
    found = dataclasses.replace(found, backward=_timed(backward, data.where))
    network.eval()
    grads = [p.grad for p in weights]
    if not all(bool(g.isfinite().all()) for g in grads if g is not None):
        raise Failure("", "the gradient of its weights is not finite at the start")
    network.zero_grad(set_to_none=True)
    unused = sum(g is None for g in grads)
    norms = sum(isinstance(m, torch.nn.modules.batchnorm._BatchNorm) for m in network.modules())
    notes = {
        f"{unused} of {len(weights)} weight tensors have no gradient: they are never trained": unused > 0,
        f"BatchNorm in {norms} layers: training sees the batch's statistics, metrics and attacks the running ones": norms > 0,
        f"kinks of {', '.join(kinks)}: second derivatives do not see them": bool(kinks),
        f"no gradient in the inputs ({inputs}): attacks by gradients cannot be used on it": inputs is not None,
    }
    return dataclasses.replace(found, notes=tuple(note for note, there in notes.items() if there))


def _curvature(found: Examination, network: nn.Module, data: DeviceData, batch: int, curved: tuple[str, ...]) -> Examination:
    """Second derivatives in the weights, and what a product takes."""
    import torch

    from robustradar.numerics.curvature import hessian
    from robustradar.numerics.problem import Problem, UnavailableError
    from robustradar.training import loss as losses

    loss = losses.of(data.task.classes)
    problem = Problem(network, loss, [data.splits["train"].spread(batch)])
    reasons: list[str] = []
    for rung in ("exact", None):
        try:
            with hessian(problem, rung="exact" if rung else None, memory=0) as H:
                v = torch.ones_like(H.gradient)
                work = _timed(lambda: H @ v, data.where)  # noqa: B023 (called at once)
                lower = () if rung else (f"no exact second derivatives ({reasons[0]}): results carry the flag curvature:{H.rung}",)
                return dataclasses.replace(found, product=work, derivatives=H.rung, notes=(*found.notes, *lower))
        except (UnavailableError, ValueError, RuntimeError) as error:
            if guard.out_of_memory(error):
                raise
            reasons.append(str(error).splitlines()[0])
    obstacle = f"no second derivatives, which {', '.join(curved)} cannot do without: {reasons[-1]}"
    note = f"no second derivatives: {reasons[-1]}"
    if curved:
        return dataclasses.replace(found, derivatives="none", obstacles=(*found.obstacles, obstacle))
    return dataclasses.replace(found, derivatives="none", notes=(*found.notes, note))


def _foreseen(found: Examination, ahead: Forecast) -> Examination:
    """The same with what the forecast says of its networks."""
    rows = [row for row in ahead.fits if row["candidate"] == found.candidate]
    seconds = [row["seconds"] for row in rows if row["seconds"] is not None]
    failures = ahead.failures.get(found.candidate, ())
    new = tuple(f"cannot be trained: {one}" for one in failures if not any(told in one for told in found.obstacles))
    total = sum(seconds) if seconds and not (new or found.obstacles) else None
    return dataclasses.replace(found, seconds=total, obstacles=(*found.obstacles, *new))


def _loss(network: nn.Module, data: DeviceData, x: Tensor, y: Tensor) -> Tensor:
    """The mean loss of a batch."""
    from robustradar.training import loss as losses

    return losses.of(data.task.classes)(network(x), y).mean()


def _input_gradient(network: nn.Module, data: DeviceData, x: Tensor, y: Tensor) -> str | None:
    """Why there is no gradient in the inputs; None where there is one."""
    import torch

    x = x.detach().clone().requires_grad_()
    try:
        (g,) = torch.autograd.grad(_loss(network, data, x, y), x, allow_unused=True, materialize_grads=True)
    except RuntimeError as error:
        if guard.out_of_memory(error):
            raise
        return str(error).splitlines()[0]
    if not bool(g.isfinite().all()):
        return "it is not finite"
    return None if bool(g.any()) else "it is zero everywhere"


def _kinks(z: Tensor) -> tuple[str, ...]:
    """The operations behind some outputs whose second derivatives are blind."""
    from robustradar.numerics.curvature import graph

    names = {node.name() for node in graph([z])}
    return tuple(sorted({kink for name in names for start, kink in _KINKS.items() if name.startswith(start)}))


def _timed(work: Callable[[], object], where: torch.device) -> BatchCost:
    """The median of a few runs after one that warms up."""
    import torch

    def wait() -> None:
        if where.type != "cpu":
            torch.accelerator.synchronize()

    work()
    wait()
    if where.type == "cuda":
        torch.cuda.reset_peak_memory_stats(where)
    taken = []
    for _ in range(_TIMES):
        start = time.perf_counter()
        work()
        wait()
        taken.append(time.perf_counter() - start)
    memory = torch.cuda.max_memory_allocated(where) if where.type == "cuda" else None
    return BatchCost(1000 * statistics.median(taken), memory)


def text(found: tuple[Examination, ...], ahead: Forecast, width: int | None = None) -> str:
    """A table no wider than that, then what is to be known of each candidate, then the forecast's last sentence."""

    def cost(work: BatchCost | None) -> str:
        return "" if work is None else f"{work.ms:.3g}"

    rows: list[list[Any]] = []
    for one in found:
        peak = max((work.bytes for work in (one.forward, one.backward, one.product) if work and work.bytes is not None), default=None)
        memory = f"{peak / 2**20:.0f}" if peak is not None else "not known" if one.forward else ""
        seconds = "" if one.seconds is None else f"{one.seconds:.1f}"
        costs = [cost(work) for work in (one.forward, one.backward, one.product)]
        rows.append([one.candidate, one.parameters, one.batch, *costs, memory, one.derivatives, seconds])
    head = ["candidate", "weights", "batch", "forward ms", "backward ms", "H·v ms", "MiB", "2nd derivatives", "study about s"]
    told = [f"{one.candidate}: NOT SUPPORTED: {text.rstrip('.')}." for one in found for text in one.obstacles]
    told += [f"{one.candidate}: {note}." for one in found for note in one.notes]
    table = terminal.table(rows, head, width, numbers=[1, 2, 3, 4, 5, 6, 8])
    return "\n".join([table, "", *told, "", ahead.closing])
