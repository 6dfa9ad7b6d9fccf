"""Weights that were trained elsewhere: every usual form is read, nothing is executed, and what does not fit is refused."""

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from robustradar import Data, Split, Study, Task, Threat, data, execute, host, plan
from robustradar.catalog import Catalog
from robustradar.errors import Failure
from robustradar.progress import Silent
from robustradar.store import Store
from robustradar.training import weights
from robustradar.training.device import DeviceData
from robustradar.training.network import Standardise
from robustradar.values import Failed, Measured, Ref, Weights

STATE = {"0.weight": torch.arange(6.0).reshape(2, 3), "0.bias": torch.ones(2), "1.running_mean": torch.zeros(2)}
FORMS: dict[str, Any] = {
    "plain": STATE,
    "state_dict": {"epoch": 7, "state_dict": STATE},
    "model": {"model": STATE, "best": 0.5},
    "parallel": {"state_dict": {f"module.{name}": value for name, value in STATE.items()}},
    "model_state_dict": {"model_state_dict": STATE, "loss": 0.5},
    "compiled": {f"_orig_mod.{name}": value for name, value in STATE.items()},
    "compiled parallel": {"model": {f"module._orig_mod.{name}": value for name, value in STATE.items()}},
    "average": {"state_dict": {name: value + 1 for name, value in STATE.items()}, "state_dict_ema": STATE},
}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return set(one) == set(other) and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("suffix", [".pt", ".pth"])
def test_forms_of_state_dicts(form: str, suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"w{suffix}"
    torch.save(FORMS[form], file)
    assert same(weights.read(file), STATE)


def test_safetensors(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "w.safetensors")
    assert same(weights.read(tmp_path / "w.safetensors"), STATE)


NO_TENSORS = "is no file of tensors alone, expected names with their tensors. Write it by torch.save(model.state_dict(), FILE)."


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_nothing_in_a_file_is_executed(tmp_path: Path) -> None:
    file, trace = tmp_path / "w.pt", tmp_path / "executed"
    for content in (pickle.dumps(Bomb(trace), protocol=2), None):
        if content is None:
            torch.save({"state_dict": {**STATE, "bomb": Bomb(trace)}}, file)
        else:
            file.write_bytes(content)
        with pytest.raises(Failure) as failure:
            weights.read(file)
        assert str(failure.value) == f"--weights {file}: {NO_TENSORS}"
        assert not trace.exists()


def test_a_whole_module_is_no_file_of_tensors(tmp_path: Path) -> None:
    torch.save(nn.Sequential(nn.Linear(2, 2)), tmp_path / "w.pt")
    with pytest.raises(Failure) as failure:
        weights.read(tmp_path / "w.pt")
    assert str(failure.value) == f"--weights {tmp_path / 'w.pt'}: {NO_TENSORS}"


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"\x00" * 40, b"no weights at all", bytes(range(256)) * 4])
def test_other_files_are_no_weights(content: bytes, suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"w{suffix}"
    file.write_bytes(content)
    with pytest.raises(Failure) as failure:
        weights.read(file)
    told = str(failure.value).removeprefix(f"--weights {file}: ")
    assert told == NO_TENSORS or re.fullmatch(
        r"cannot be read \([^\x1b]+\), expected a safetensors file or a state dict saved by torch\.save\.", told
    )


@pytest.mark.parametrize("content", [[torch.zeros(1)], torch.zeros(2), {"a": 1}, {"state_dict": {"a": "b"}}], ids=str)
def test_other_content_is_no_state_dict(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(Failure) as failure:
        weights.read(tmp_path / "w.pt")
    assert str(failure.value) == f"--weights {tmp_path / 'w.pt'}: holds no state dict, expected names with their tensors."


def network() -> nn.Module:
    return nn.Sequential(Standardise(torch.zeros(3), torch.ones(3), 1), nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)))


def test_weights_of_the_whole_network_and_of_the_architecture_alone_match() -> None:
    model = network()
    whole = {name: torch.rand(value.shape) if value.is_floating_point() else value for name, value in model.state_dict().items()}
    assert same(weights.matching(model, whole, "w"), whole)
    alone = {name[2:]: value for name, value in whole.items() if name.startswith("1.")}
    found = weights.matching(model, alone, "w")
    assert same(found, {**whole, "0.mean": model.state_dict()["0.mean"], "0.std": model.state_dict()["0.std"]})


def test_an_architecture_that_is_not_normalised_takes_its_own_names() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    state = model.state_dict()
    assert same(weights.matching(model, state, "w"), state)


def test_half_precision_is_widened() -> None:
    model = nn.Linear(3, 2)
    found = weights.matching(model, {name: value.half() for name, value in model.state_dict().items()}, "w")
    assert {value.dtype for value in found.values()} == {torch.float32}


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_other_than_floating_numbers_are_refused_where_the_network_has_floating_ones(dtype: torch.dtype) -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    state = dict(model.state_dict())
    with pytest.raises(Failure) as failure:
        weights.matching(model, {**state, "0.weight": torch.ones(2, 3).to(dtype)}, "--weights w.pt")
    assert str(failure.value) == (
        f"--weights w.pt: 0.weight: got {str(dtype).removeprefix('torch.')} values, expected float32: rounded or quantised weights are "
        "others than those that were trained."
    )
    counted = weights.matching(model, {**state, "1.num_batches_tracked": torch.tensor(7.0)}, "w")["1.num_batches_tracked"]
    assert (counted.dtype, int(counted)) == (torch.int64, 7)


def test_other_shapes_and_names_are_refused() -> None:
    model = network()
    state = dict(model.state_dict())
    with pytest.raises(Failure) as failure:
        weights.matching(model, {**state, "1.0.weight": torch.zeros(2, 5)}, "--weights w.pt")
    assert str(failure.value) == "--weights w.pt: 1.0.weight: got shape [2, 5], expected [2, 3]."
    with pytest.raises(Failure) as failure:
        weights.matching(model, {**state, "1.0.weight": torch.full((2, 3), torch.nan)}, "--weights w.pt")
    assert str(failure.value) == "--weights w.pt: 1.0.weight: got values that are not finite, expected numbers: training had diverged."
    with pytest.raises(Failure) as failure:
        weights.matching(model, {**{n: v for n, v in state.items() if n != "1.0.bias"}, "fc": torch.zeros(1)}, "--weights w.pt")
    assert str(failure.value) == "--weights w.pt: misses '1.0.bias', and holds 'fc' beside, expected the network's 9 tensors."


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("0.weight 0.bias", "misses '1.bias', '1.num_batches_tracked', '1.running_mean' and 2 more, expected the network's 7 tensors."),
        ("fc", "misses '0.bias', '0.weight', '1.bias' and 4 more, and holds 'fc' beside, expected the network's 7 tensors."),
        (
            "0.weight 0.bias 1.weight 1.bias 1.running_mean 1.running_var 1.num_batches_tracked fc",
            "holds 'fc' beside, expected the network's 7 tensors.",
        ),
        (
            "0.weight 0.bias 1.weight 1.bias 1.running_mean 1.running_var 1.num_batches_tracked",
            "0.bias: got shape [1], expected [2].",
        ),
    ],
    ids=["some", "others", "more", "shapes"],
)
def test_what_does_not_fit_is_told_by_the_architectures_own_names(given: str, reason: str) -> None:
    with pytest.raises(Failure) as failure:
        weights.matching(network(), {name: torch.zeros(2, 3) if name == "0.weight" else torch.zeros(1) for name in given.split()}, "w.pt")
    assert str(failure.value) == f"w.pt: {reason}"


# From end to end: given weights are measured as they are.

PLUGIN = """
import robustradar as rr
import torch
from torch import nn
from dataclasses import dataclass

def plain(shape: tuple[int, ...], outputs: int):
    "A linear map."
    return nn.Linear(shape[0], outputs)

@dataclass(frozen=True)
class Sum(rr.Metric):
    "Sum of weights of the clean fit."
    name: str = rr.fixed("sum")
    columns: tuple[rr.Column, ...] = rr.fixed((rr.Column("sum", "none", "1"),))

    def needs(self, task, threat):
        return rr.Needs(fits={"model": rr.FitNeed(rr.CLEAN)})

    def measure(self, bench):
        model = bench.fits["model"].model
        x, _ = next(iter(bench.splits["train"]))
        assert not model.training
        return {"sum": rr.Measured(float(model(x[:1]).double().sum().detach()), details={"dtype": str(model(x).dtype)})}

@rr.hookimpl
def robustradar_architectures(): return (rr.architecture(plain),)

@rr.hookimpl
def robustradar_metrics(): return (Sum(),)

@rr.hookimpl
def robustradar_recipes():
    return (rr.Recipe(name="brief", epochs=1, batch=8), rr.Recipe(name="convex", optimizer="lbfgs", epochs=20, weight_decay=0.1))
"""


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    (tmp_path / "given.py").write_text(PLUGIN)
    (plugin,) = host.load(given=[str(tmp_path / "given.py")], entry_points=[])
    assert plugin.error is None
    return Catalog((plugin,), {})


@pytest.fixture
def blobs() -> Data:
    x = np.random.default_rng(0).random((24, 4), dtype=np.float32)
    y = (x[:, 0] > 0.5).astype(np.int64)
    return Data(Split(x[:16], y[:16]), Split(x[16:], y[16:]), None, 2, (0.0, 1.0))


def measured(catalog: Catalog, blobs: Data, root: Path, recipe: str = "given/brief", given: Weights | None = None) -> Any:
    task: Task = data.task(blobs, Ref("test/blobs", (), "test", "test/blobs"))
    ref = catalog.resolve("architecture", "given/plain", "test")
    study = Study(
        name="test",
        candidates=(ref,),
        task=task,
        threat=Threat(2.0, 0.1, task.bounds),
        attack=Ref("none", (), "", "none"),
        recipe=catalog.resolve("recipe", recipe, "test"),
        metrics=(catalog.resolve("metric", "given/sum", "test"),),
        ranker=Ref("none", (), "", "none"),
        reporters=(),
        seeds=(0,),
        weights={} if given is None else {ref.label: given},
    )
    planned = plan.make(study, catalog, "engine 1")
    on_device = DeviceData.of(blobs, task, torch.device("cpu"))
    executed = execute.Execution(catalog, on_device, Store(root), Silent()).run(planned)
    return executed.outcomes[planned.measurements[0].key]["sum"], executed.fits, planned.fits[0]


def test_given_weights_are_measured_as_they_are(catalog: Catalog, blobs: Data, tmp_path: Path) -> None:
    given = {"weight": torch.arange(8.0).reshape(2, 4), "bias": torch.tensor([0.5, -1.0])}
    file = tmp_path / "w.safetensors"
    save_file(given, file)
    outcome, (fit,), _ = measured(catalog, blobs, tmp_path / "store", given=Weights("1" * 64, str(file)))
    x = torch.from_numpy(blobs.train.x)
    z = (x[:1] - x.mean(0)) / x.std(0, correction=0) @ given["weight"].T + given["bias"]
    assert isinstance(outcome, Measured)
    assert outcome.value == pytest.approx(float(z.sum()), rel=1e-5)
    assert "given-weights" in outcome.flags
    assert fit.record.epochs == ()


def test_given_weights_that_do_not_fit_are_a_failed_cell(catalog: Catalog, blobs: Data, tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    save_file({"weight": torch.zeros(2, 5), "bias": torch.zeros(2)}, file)
    outcome, fits, _ = measured(catalog, blobs, tmp_path / "store", given=Weights("2" * 64, str(file)))
    assert outcome == Failed("weight: got shape [2, 5], expected [2, 4].", f"--weights {file}")
    assert fits == ()


def test_a_convex_fit_is_stored_and_measured_in_float64(catalog: Catalog, blobs: Data, tmp_path: Path) -> None:
    outcome, (fit,), spec = measured(catalog, blobs, tmp_path / "store", "given/convex")
    state = Store(tmp_path / "store").state(spec.key)
    assert state is not None
    assert {value.dtype for value in state.values()} == {torch.float64}
    assert outcome.details == {"dtype": "torch.float64"}
    assert fit.record.epochs[-1]["gradient_norm"] <= 1e-8
    assert not any(flag.startswith("not-converged") for flag in outcome.flags)
    again, (known,), _ = measured(catalog, blobs, tmp_path / "store", "given/convex")
    assert known.cached
    assert again.value == outcome.value


def test_how_long_a_convex_fit_takes_is_forecast(catalog: Catalog, blobs: Data, tmp_path: Path) -> None:
    _, _, spec = measured(catalog, blobs, tmp_path / "store", "given/convex")
    on_device = DeviceData.of(blobs, spec.task, torch.device("cpu"))
    seconds = execute.Execution(catalog, on_device, Store(tmp_path / "store"), Silent()).trial(spec, 2)
    assert 0 < seconds < 60
