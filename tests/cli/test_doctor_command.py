"""`robustradar doctor`: the machine, and candidates whose derivatives are known beforehand."""

import re
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from robustradar.doctor import environment

Run = Callable[[str], Any]

NETS = """
import math
import robustradar
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

class Net(nn.Module):
    def __init__(self, shape, outputs, between):
        super().__init__()
        self.a, self.b, self.between = nn.Linear(math.prod(shape), 4), nn.Linear(4, outputs), between
    def forward(self, x):
        return self.b(self.between(self.a(x.flatten(1))))

class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.tanh()
    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * (1 - x.tanh() ** 2)

def smooth(shape, outputs):
    "Softplus."
    return Net(shape, outputs, nn.functional.softplus)

def kinked(shape, outputs):
    "ReLU after BatchNorm."
    return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(math.prod(shape)), nn.ReLU(), nn.Linear(math.prod(shape), outputs))

def kept(shape, outputs):
    "Checkpoints that can be differentiated twice."
    return Net(shape, outputs, lambda x: checkpoint(torch.tanh, x, use_reentrant=False))

def reentrant(shape, outputs):
    "Checkpoints that autograd.grad cannot go through."
    return Net(shape, outputs, lambda x: checkpoint(torch.tanh, x, use_reentrant=True))

def attention(shape, outputs):
    "Fused attention."
    fused = nn.functional.scaled_dot_product_attention
    return Net(shape, outputs, lambda x: fused(x[:, None, :, None], x[:, None, :, None], x[:, None, :, None]).flatten(1))

def once(shape, outputs):
    "An operation with a first derivative only."
    return Net(shape, outputs, Once.apply)

def random(shape, outputs):
    "Noise in evaluation mode."
    return Net(shape, outputs, lambda x: x * torch.rand(()))

def rounded(shape, outputs):
    "No gradient in the inputs."
    return nn.Sequential(Rounded(), nn.Flatten(), nn.Linear(math.prod(shape), outputs))

class Rounded(nn.Module):
    def forward(self, x):
        return x.round()

def frozen(shape, outputs):
    "Nothing to train."
    return Net(shape, outputs, nn.Identity()).requires_grad_(False)

def endless(shape, outputs):
    "Not finite."
    return Net(shape, outputs, lambda x: x / 0)

def fickle(shape, outputs):
    "Fails in training mode only."
    class Fickle(Net):
        def forward(self, x):
            if self.training:
                raise RuntimeError("no training today")
            return super().forward(x)
    return Fickle(shape, outputs, nn.Identity())

def unbuilt(shape, outputs):
    "Takes no such inputs."
    raise ValueError("no images")

NETS = (smooth, kinked, kept, reentrant, attention, once, random, rounded, frozen, endless, fickle, unbuilt)

@robustradar.hookimpl
def robustradar_architectures():
    return tuple(robustradar.architecture(net) for net in NETS)
"""


@pytest.fixture
def examine(run: Run, tiny: str) -> Callable[..., Any]:
    Path("nets.py").write_text(NETS)
    options = tiny.replace("--out out", "")
    return lambda *nets, more="": run(f"doctor {options} --plugin nets.py {' '.join(f'--arch nets/{net}' for net in nets)} {more}")


def test_the_machine_is_told(run: Run) -> None:
    done = run("doctor")
    assert (done.code, done.err) == (0, "")
    facts = dict(line.split(maxsplit=1) for line in done.out.splitlines() if not line.startswith("torch is built"))
    assert facts["python"].endswith(f"({sys.executable})")
    assert f"robustradar {metadata.version('robustradar')}, " in facts["versions"]
    assert f"torch {metadata.version('torch')}, " in facts["versions"]
    assert facts["devices"].startswith("cpu (")
    assert re.fullmatch(r"\.robustradar/store, not there yet, writable, \d+\.\d GiB free", facts["store"])
    assert not Path(".robustradar").exists()


def test_the_machine_as_json_guesses_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("os.sysconf")
    told = run("doctor --json").json
    assert (told["candidates"], told["forecast"]) == ([], None)
    assert told["environment"]["memory"] is None
    assert told["environment"]["devices"][0]["memory"] is None
    assert set(told["environment"]["extras"]) >= {"art", "foolbox", "parquet"}


def test_an_extra_that_is_not_installed_is_told_with_its_cure(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    version = metadata.version

    def lacking(name: str) -> str:
        if name == "foolbox":
            raise metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(metadata, "version", lacking)
    assert "not installed  foolbox (pip install 'robustradar[foolbox]')" in run("doctor").out
    assert environment.extras("robustradar")["foolbox"] == ("foolbox",)


def test_a_store_that_cannot_be_written_is_told(run: Run) -> None:
    Path("file").write_text("")
    done = run("doctor --store file/store")
    assert done.code == 3
    assert "store       file/store, not there yet, NOT WRITABLE, " in done.out


def test_smooth_networks_are_told_with_their_costs(examine: Callable[..., Any]) -> None:
    done = examine("smooth", "kinked", "kept", "attention", more="--metric tradeoff/influence --json")
    assert (done.code, done.err) == (0, "")
    smooth, kinked, kept, attention = done.json["candidates"]
    assert (smooth["parameters"], smooth["batch"]) == (16 * 4 + 4 + 4 * 2 + 2, 40)
    for one in done.json["candidates"]:
        assert one["derivatives"] == "exact"
        assert one["obstacles"] == []
        assert all(one[work]["ms"] > 0 and one[work]["bytes"] is None for work in ("forward", "backward", "product"))
        assert one["seconds"] > 0
    assert [one["notes"] for one in (smooth, kept, attention)] == [[], [], []]
    assert kinked["notes"] == [
        "BatchNorm in 1 layers: training sees the batch's statistics, metrics and attacks the running ones",
        "kinks of ReLU: second derivatives do not see them",
    ]
    assert abs(done.json["forecast"]["seconds"] - sum(one["seconds"] for one in done.json["candidates"])) < 1e-9


def test_the_table_has_a_row_a_candidate_and_ends_with_the_forecast(examine: Callable[..., Any]) -> None:
    done = examine("smooth", "frozen", more="--metric clean-accuracy")
    head, _, smooth, frozen, *_ = done.out.split("\n\n")[1].splitlines() if "\n\n" in done.out else ()
    assert re.split(r" {2,}", head) == [
        "candidate", "weights", "batch", "forward ms", "backward ms", "H·v ms", "MiB", "2nd derivatives", "study about s"
    ]  # fmt: skip
    assert re.match(r"nets/smooth +78 +40 +[\d.e-]+ +[\d.e-]+ +[\d.e-]+ +not known +exact +\d+\.\d$", smooth)
    assert frozen.split() == ["nets/frozen"]
    assert "\nnets/frozen: NOT SUPPORTED: has no weights to train.\n" in done.out
    assert done.code == 3
    assert done.out.splitlines()[-1].startswith("2 networks for 2 needs of the metrics; 2 to train, 0 in the store; ")


RANDOM = "the loss differs between two passes in evaluation mode, so it has no derivative"
TWICE = "no exact product: trying to differentiate twice an operation that has a derivative once only"


def test_a_lower_rung_is_told_with_its_reason(examine: Callable[..., Any]) -> None:
    done = examine("once", more="--metric tradeoff/influence --json")
    (once,) = done.json["candidates"]
    assert (done.code, once["derivatives"], once["obstacles"]) == (0, "finite-differences", [])
    assert once["notes"] == [f"no exact second derivatives ({TWICE}): results carry the flag curvature:finite-differences"]


def test_no_second_derivative_matters_only_where_a_metric_needs_it(examine: Callable[..., Any]) -> None:
    needed = examine("random", more="--metric tradeoff/influence --json")
    assert needed.code == 3
    assert needed.json["candidates"][0]["derivatives"] == "none"
    assert needed.json["candidates"][0]["obstacles"] == [f"no second derivatives, which tradeoff/influence cannot do without: {RANDOM}"]
    unneeded = examine("random", more="--metric clean-accuracy --json")
    assert unneeded.code == 0
    assert unneeded.json["candidates"][0]["notes"] == [f"no second derivatives: {RANDOM}"]


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad:UserWarning")
def test_inputs_without_a_gradient_are_told(examine: Callable[..., Any]) -> None:
    done = examine("rounded", "reentrant", more="--metric clean-accuracy --json")
    rounded, reentrant = done.json["candidates"]
    assert done.code == 0
    assert rounded["notes"] == ["no gradient in the inputs (it is zero everywhere): attacks by gradients cannot be used on it"]
    assert reentrant["notes"][0].startswith("no gradient in the inputs (")
    assert "use_reentrant=True" in reentrant["notes"][0]
    assert reentrant["notes"][1].startswith("no second derivatives: ")


def test_what_cannot_be_trained_is_told(examine: Callable[..., Any]) -> None:
    done = examine("endless", "fickle", "unbuilt", more="--arch nasbench201:cell=9 --metric clean-accuracy --json")
    endless, fickle, none, cell = done.json["candidates"]
    assert done.code == 3
    assert endless["obstacles"] == ["the gradient of its weights is not finite at the start"]
    assert fickle["obstacles"] == ["RuntimeError: no training today (nets.py:76)"]
    assert none["obstacles"][0].startswith("ValueError: no images")
    assert (len(none["obstacles"]), none["parameters"], none["seconds"]) == (1, None, None)
    assert (cell["obstacles"], fickle["seconds"]) == ([], None)


def test_an_attack_that_fails_in_training_is_told(run: Run, tiny: str) -> None:
    Path("bad.py").write_text(
        "import robustradar\nclass Bad(robustradar.Attack):\n    'Fails.'\n"
        "    def perturb(self, victim, x, y):\n        raise ValueError('no')\n"
        "@robustradar.hookimpl\ndef robustradar_attacks():\n    return (Bad(name='bad', min_classes=0),)\n"
    )
    options = tiny.replace("--out out", "--plugin bad.py --attack bad/bad --metric robust-accuracy-trained --json")
    done = run(f"doctor {options} --arch linear")
    assert done.code == 3
    assert done.json["candidates"][0]["obstacles"] == ["cannot be trained: attack bad/bad (bad.py): ValueError: no (bad.py:5)"]


def test_wrong_usage_is_told_as_rank_tells_it(run: Run) -> None:
    assert run("doctor --data digits").message == (
        "--arch: got no candidate, expected at least one. Give --arch plugin/name, or the name of a STUDY."
    )
    assert run("doctor --arch linear --data nowhere").code == 2


def test_help_has_two_examples_and_imports_no_torch() -> None:
    program = "import sys\nfrom robustradar.cli import app\napp(['doctor', '--help'], standalone_mode=False)\nprint('torch' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert printed.count("  robustradar doctor") == 2
    assert printed.splitlines()[-1] == "False"
