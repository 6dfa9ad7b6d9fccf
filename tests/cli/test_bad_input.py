"""Every wrong input ends in exit code 2 and one line that says where, what was got, what was expected, and what to do.

`<…>` in an expected message stands for a list of names that grows with the plugins.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer

from robustradar.cli import misuse

WILD = "<…>"


def matches(expected: str, message: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, expected.split(WILD))), message) is not None


NAMES = [
    ("rank nope", "STUDY: got 'nope', expected one of <…> names (robustradar plugins list study shows them)."),
    (
        "rank quickstrat",
        "STUDY: got 'quickstrat'. Did you mean 'quickstart'? Expected one of <…> names (robustradar plugins list study shows them).",
    ),
    (
        "plan quickstrat",
        "STUDY: got 'quickstrat'. Did you mean 'quickstart'? Expected one of <…> names (robustradar plugins list study shows them).",
    ),
    (
        "rank --arch papers/lineer",
        "--arch: got 'papers/lineer'. Did you mean 'papers/linear'<…>? Expected one of <…> names (robustradar plugins list architecture "
        "shows them).",
    ),
    (
        "rank --arch papers/lineer*",
        "--arch: got 'papers/lineer*'. Did you mean 'papers/linear'<…>? Expected one of <…> names (robustradar plugins list architecture "
        "shows them).",
    ),
    (
        "rank --arch linear --attack native/pdg",
        "--attack: got 'native/pdg'. Did you mean 'native/pgd'<…>? Expected one of <…> names (robustradar plugins list attack shows them).",
    ),
    (
        "rank --arch linear --metric parameter",
        "--metric: got 'parameter'. Did you mean 'baselines/parameters'<…>? Expected one of <…> names (robustradar plugins list metric "
        "shows them).",
    ),
    ("rank --arch linear --recipe native/quik", "--recipe: got 'native/quik', expected one of <…>. Did you mean 'native/quick'<…>?"),
    (
        "rank --arch linear --attack pdg",
        "--attack: got 'pdg'. Did you mean <…>'native/pgd'<…>? Expected one of <…> names (robustradar plugins list attack shows them).",
    ),
    (
        "rank --arch linear --attack native/PDG",
        "--attack: got 'native/PDG'. Did you mean 'native/pgd'<…>? Expected one of <…> names (robustradar plugins list attack shows them).",
    ),
    (
        "rank --arch mpl",
        "--arch: got 'mpl'. Did you mean <…>'papers/mlp'<…>? Expected one of <…> names (robustradar plugins list architecture shows them).",
    ),
    (
        "rank --arch linear --data torchvision/cifar10",
        "--data: got 'torchvision/cifar10'. Did you mean 'torchvision/CIFAR10'<…>? Expected one of <…> names (robustradar plugins list "
        "dataset shows them).",
    ),
    (
        "rank --arch linear --ranker rank",
        "--ranker: got 'rank', expected one of <…>native/rank-mean<…>. Did you mean 'native/rank-mean'<…>?",
    ),
    (
        "rank --arch linear --data native/digit",
        "--data: got 'native/digit'. Did you mean 'native/digits'<…>? Expected one of <…> names (robustradar plugins list dataset shows "
        "them).",
    ),
    (
        "plugins show native/pdg",
        "NAME: got 'native/pdg'. Did you mean 'native/pgd'<…>? Expected one of <…> names (robustradar plugins list shows them).",
    ),
]


@pytest.mark.parametrize(("line", "expected"), NAMES)
def test_an_unknown_name_is_answered_with_those_that_are_close(line: str, expected: str, run: Callable[[str], Any]) -> None:
    done = run(line)
    assert matches(expected, done.message), done.message
    assert (done.code, done.out) == (2, "")


MLP = "Accepted: width: int >= 1 = 64, depth: int >= 1 = 2, activation: relu|tanh|gelu|softplus = relu."
PARAMETERS = [
    ("mlp:widht=3", "--arch papers/mlp: parameter: got 'widht', expected one of activation, depth, width. Did you mean 'width'?"),
    (
        "mlp:width=three",
        f"--arch papers/mlp: parameter 'width': got 'three', expected a valid integer, unable to parse string as an integer. {MLP}",
    ),
    ("mlp:width=0", f"--arch papers/mlp: parameter 'width': got '0', expected greater than or equal to 1. {MLP}"),
    ("mlp:activation=sin", f"--arch papers/mlp: parameter 'activation': got 'sin', expected 'relu', 'tanh', 'gelu' or 'softplus'. {MLP}"),
    ("mlp:width", "--arch: got 'width' in 'mlp:width', expected parameter=value. Separate parameters by commas."),
    ("mlp:width=1,width=2", "--arch: got 'width' twice in 'mlp:width=1,width=2', expected it once."),
    ("linear:bias=perhaps", "--arch papers/linear: parameter 'bias': got 'perhaps', expected a valid boolean, unable to interpret input. "
     "Accepted: bias: bool = true."),
]  # fmt: skip


@pytest.mark.parametrize(("reference", "expected"), PARAMETERS)
def test_a_wrong_parameter_is_named_with_those_that_are_accepted(reference: str, expected: str, run: Callable[[str], Any]) -> None:
    done = run(f"rank --arch {reference}")
    assert (done.code, done.message) == (2, expected)


LBFGS = "as it ends by itself and its last weights are kept"
CONTRADICTIONS = [
    (
        "--arch papers/nasbench201:cell=xx",
        "--arch papers/nasbench201: ValueError: cell: got 'xx', expected |op~0|+|op~0|op~1|+|op~0|op~1|op~2| with operations among none, "
        "skip_connect, nor_conv_1x1, nor_conv_3x3, avg_pool_3x3, or NAS-Bench-201's index, 0 to 15624. Accepted: cell: str = <…>.",
    ),
    (
        "--arch linear --recipe quick:milestones=0.75+0.5",
        "--recipe native/quick: ValueError: milestones: got 0.75+0.5, expected shares between 0 and 1, each greater than the one before. "
        "Accepted: <…>.",
    ),
    (
        "--arch linear --recipe quick:optimizer=lbfgs,patience=3",
        f"--recipe native/quick: ValueError: optimizer=lbfgs: got patience=3, expected patience=0, {LBFGS}. Accepted: <…>.",
    ),
    (
        "--arch linear --recipe quick:optimizer=lbfgs,select=accuracy",
        f"--recipe native/quick: ValueError: optimizer=lbfgs: got select=accuracy, expected select=last, {LBFGS}. Accepted: <…>.",
    ),
]


@pytest.mark.parametrize(("options", "expected"), CONTRADICTIONS)
def test_a_plan_refuses_what_could_not_be_built_or_would_be_ignored(options: str, expected: str, run: Callable[[str], Any]) -> None:
    done = run(f"plan --no-timing {options} --data digits --eps 0.1 --metric clean-accuracy")
    assert (done.code, done.out) == (2, "")
    assert matches(expected, done.message), done.message


OPTIONS = [
    ("", "--arch: got no candidate, expected at least one. Give --arch plugin/name, or the name of a STUDY."),
    ("--arch linear --eps -0.1", "--eps: got -0.1, expected at least 0. Give the strength in the data's own units, such as 8/255."),
    ("--arch linear --eps 8", "--eps: got 8, expected less than 1, the largest linf distance in [0, 1]. Did you mean 8/255?"),
    ("--arch linear --eps 8 --norm l2", "--eps: got 8, expected less than 4, the largest l2 distance in [0, 1]. Did you mean 8/255?"),
    ("--arch linear --eps 5000", "--eps: got 5000, expected less than 1, the largest linf distance in [0, 1]."),
    ("--arch linear --eps nan", "--eps: got 'nan', expected a number such as 8/255 or 0.1."),
    ("--arch linear --eps inf", "--eps: got 'inf', expected a number such as 8/255 or 0.1."),
    ("--arch linear --eps 1/0", "--eps: got '1/0', expected a number such as 8/255 or 0.1."),
    ("--arch linear --eps much", "--eps: got 'much', expected a number such as 8/255 or 0.1."),
    ("--arch linear --norm 0.5", "--norm: got '0.5', expected linf, l2, l1 or an order p of at least 1."),
    ("--arch linear --norm l0", "--norm: got 'l0', expected linf, l2, l1 or an order p of at least 1."),
    ("--arch linear --norm nan", "--norm: got 'nan', expected linf, l2, l1 or an order p of at least 1."),
    ("--arch linear --norm max", "--norm: got 'max', expected linf, l2, l1 or an order p of at least 1."),
    ("--arch linear --seeds 0", "--seeds: got 0, expected at least 1."),
    (
        "--arch linear --norm l2 --attack native/fgsm",
        "--attack native/fgsm: got norm l2, expected linf. Choose another attack (robustradar plugins list attack).",
    ),
    (
        "--arch linear --norm l1 --attack native/autoattack",
        "--attack native/autoattack: got norm l1, expected l2 or linf. Choose another attack (robustradar plugins list attack).",
    ),
    (
        "--arch linear --attack native/apgd-dlr",
        "--attack native/apgd-dlr: got 2 classes, expected at least 3. Choose another attack (robustradar plugins list attack).",
    ),
    (
        "--arch linear --attack native/autoattack --metric robust-accuracy-trained",
        "metric baselines/robust-accuracy-trained: attack native/autoattack: got a first_success attack, expected max_loss, since losses "
        "are read or trained on. Choose another attack (robustradar plugins list attack).",
    ),
    (
        "--arch linear --ranker rank-mean:columns=cleen_accuracy",
        "ranker rank-mean: columns: got 'cleen_accuracy', expected one of clean_accuracy, clean_loss, effective_rank, expressivity, "
        "fgsm_accuracy, fgsm_loss, meco, nwot, swap. "
        "Did you mean 'clean_accuracy' or 'fgsm_accuracy'?",
    ),
    ("--arch linear --out tiny.npz/out", "--out: got 'tiny.npz/out', which cannot be written (Not a directory). Choose another folder."),
    ("--arch linear --store tiny.npz/s", "--store: got 'tiny.npz/s', which cannot be written (Not a directory). Choose another folder."),
    (
        "--arch linear --registry none.yaml",
        "--registry: got 'none.yaml', which cannot be read (No such file or directory), expected a YAML file. Check the path.",
    ),
    ("--arch linear --registry .", "--registry: got '.', which cannot be read (Is a directory), expected a YAML file. Check the path."),
    ("--arch linear --plugin none.py", "--plugin: got 'none.py', expected a Python file. Check the path."),
]


@pytest.mark.parametrize(("options", "expected"), OPTIONS)
def test_a_wrong_option_is_refused_before_anything_is_trained(options: str, expected: str, run: Callable[[str], Any], tiny: str) -> None:
    done = run(f"rank {tiny} {options}")
    assert (done.code, done.message, done.out) == (2, expected, "")
    assert not list(Path("store").glob("fits/*/*"))


def test_two_files_of_weights_for_one_candidate_are_refused(run: Callable[[str], Any], tiny: str) -> None:
    Path("a.pt").write_bytes(b"a")
    Path("b.pt").write_bytes(b"b")
    done = run(f"rank {tiny} --weights mlp=a.pt --weights papers/mlp=b.pt")
    assert (done.code, done.message) == (
        2,
        "--weights: got two files for papers/mlp, 'a.pt' and 'b.pt', expected one. Score each of them in a run of its own.",
    )


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_refused(device: str, run: Callable[[str], Any], tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for command in ("rank", "plan"):
        done = run(f"{command} {tiny} --arch linear --device {device}")
        assert (done.code, done.message) == (2, f"--device: got {device!r}, expected auto or one that is there: cpu.")


KINDS = "architecture, attack, dataset, metric, ranker, recipe, reporter, study"
TYPED = [
    (
        "rank --seeds two",
        "--seeds: got 'two', expected a valid integer, unable to parse string as an integer. See robustradar rank --help.",
    ),
    ("check --baseline b --alpha 2", "--alpha: got '2', expected less than or equal to 1. See robustradar check --help."),
    ("plugins list atack", f"KIND: got 'atack', expected one of {KINDS}. Did you mean 'attack' or 'dataset'?"),
    ("rank --device tpu", "--device: got 'tpu', expected one of auto, cpu, cuda, mps. Did you mean 'cpu'?"),
    ("check", "--baseline: got none, expected one. See robustradar check --help."),
    ("plugins new", "KIND: got none, expected one. See robustradar plugins new --help."),
    ("rank --seeds", "--seeds: got no value, expected one. See robustradar --help."),
    ("rank --quiet=3", "--quiet: got a value, expected none. See robustradar --help."),
    ("rank one two three", "ARGUMENTS: got 'two three' beyond those of robustradar rank, expected no more. See robustradar rank --help."),
    (
        "rank --archh mlp",
        "OPTION: got '--archh'. Did you mean '--arch'<…>? Expected one of <…> names (robustradar rank --help shows them).",
    ),
    ("rnk", "COMMAND: got 'rnk', expected one of <…>. Did you mean 'rank'?"),
    ("plugins shwo", "COMMAND: got 'shwo', expected one of <…>. Did you mean 'show'?"),
]


@pytest.mark.parametrize(("line", "expected"), TYPED)
def test_what_typer_itself_refuses_is_told_as_everything_else(line: str, expected: str, run: Callable[[str], Any]) -> None:
    done = run(line)
    assert matches(expected, done.message), done.message
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1)


def test_a_value_that_typer_tells_in_words_of_its_own_keeps_them() -> None:
    """As earlier versions of Typer do, and what nobody has met yet."""
    refused = typer.BadParameter("'two' is not a valid integer.", param_hint="'--seeds'")
    assert misuse.told(refused) == "--seeds: 'two' is not a valid integer. See robustradar --help."
    refused.format_message = lambda: "Something else."  # type: ignore[method-assign]
    assert misuse.told(refused) == "Something else."


def test_a_group_without_a_command_shows_its_help(run: Callable[[str], Any]) -> None:
    done = run("plugins")
    assert (done.code, done.out, done.err.splitlines()[0]) == (2, "", "Usage: robustradar plugins [OPTIONS] COMMAND [ARGS]...")


# Data


def spoilt(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    x = x.copy()
    x[3, 0, 0, 0] = np.nan
    return x


KEYS = "x_train, y_train, x_test, y_test"
DATA: list[tuple[Callable[[dict[str, Any]], dict[str, Any]], str]] = [
    (
        lambda a: {"x_train": spoilt(a["x_train"])},
        "--data native/npz:path=bad.npz: train: got NaN or infinity in sample 3 of x, expected finite numbers. Drop it.",
    ),
    (
        lambda a: {"y_train": a["y_train"][:10]},
        "--data native/npz:path=bad.npz: train: got 40 inputs and 10 targets, expected as many. Pair x and y.",
    ),
    (
        lambda a: {"x_train": a["x_train"] * 255, "x_test": a["x_test"] * 255},
        "--data native/npz:path=bad.npz: train: got x from 0 to 255, expected 0 to 1. Divide by 255, or store uint8.",
    ),
    (
        lambda a: {"x_test": a["x_test"][:, :, :3]},
        "--data native/npz:path=bad.npz: evaluation: got x of float32 [1, 3, 4], expected float32 [1, 4, 4] as in train. Match the splits.",
    ),
    (
        lambda a: {"x_train": a["x_train"][..., None]},
        "--data native/npz:path=bad.npz: train: got x of shape [40, 1, 4, 4, 1], expected [N, channels, height, width] or [N, features]. "
        "Reshape x.",
    ),
    (
        lambda a: {"y_test": a["y_test"] - 1},
        "--data native/npz:path=bad.npz: evaluation: got labels from -1 to 0, expected 0 to 1. Renumber them.",
    ),
    (
        lambda a: {"x_val": a["x_test"]},
        f"native/npz bad.npz: got {KEYS}, x_val, expected {KEYS}. Rename or drop arrays.",
    ),
]


@pytest.mark.parametrize(("change", "expected"), DATA)
def test_data_that_could_only_give_wrong_numbers_are_refused(
    change: Callable[[dict[str, Any]], dict[str, Any]], expected: str, run: Callable[[str], Any], tiny: str
) -> None:
    arrays = dict(np.load("tiny.npz"))
    np.savez("bad.npz", **(arrays | change(arrays)))
    done = run("rank --arch linear --data npz:path=bad.npz")
    assert (done.code, done.message) == (2, expected)


def test_a_missing_array_is_named_with_the_one_that_was_meant(run: Callable[[str], Any], tiny: str) -> None:
    arrays = dict(np.load("tiny.npz"))
    arrays["x_tset"] = arrays.pop("x_test")
    np.savez("bad.npz", **arrays)
    done = run("rank --arch linear --data npz:path=bad.npz")
    expected = f"native/npz bad.npz: got x_train, y_train, y_test, x_tset, expected {KEYS}. Did you mean 'x_test' by 'x_tset'?"
    assert (done.code, done.message) == (2, expected)


def test_a_data_file_that_is_missing_or_no_data_is_named(run: Callable[[str], Any]) -> None:
    Path("text.npz").write_text("hello")
    for reference, expected in [
        ("npz", "native/npz: got no path, expected an .npz file. Write npz:path=FILE."),
        ("npz:path=none.npz", "native/npz none.npz: got no such file, expected an .npz file. Check the path."),
        ("npz:path=text.npz", "native/npz text.npz: got a damaged file or no .npz file, expected a whole one. Copy or store it again."),
    ]:
        done = run(f"rank --arch linear --data {reference}")
        assert (done.code, done.message) == (2, expected)


# Registries

REGISTRIES = [
    ("- x", "mine.yaml:1: document: got a list, expected a mapping."),
    ("studies: [1]", "mine.yaml:1: studies: got a list, expected a mapping."),
    (
        "attacks: {}\nstudyes: {}",
        "mine.yaml:2: studyes: key: got 'studyes', expected one of architectures, attacks, datasets, defaults, metrics, rankers, recipes, "
        "reporters, studies. Did you mean 'studies'?",
    ),
    ("studies:\n  q:\n    sedes: 2\n", "mine.yaml:3: studies.q.sedes: key: got 'sedes', expected one of <…>. Did you mean 'seeds'<…>?"),
    ("studies:\n  q:\n    seeds: 0\n", "mine.yaml:3: studies.q.seeds: got '0', expected a whole number of at least 1."),
    ("studies:\n  q:\n    architectures: linear\n", "mine.yaml:3: studies.q.architectures: got 'linear', expected a list."),
    ("attacks:\n  p:\n", "mine.yaml:2: attacks.p: got nothing, expected a text."),
    ("attacks:\n  p: native/pgd\n  p: native/fgm\n", "mine.yaml:3: attacks.p: got this key twice, expected it once."),
    ("attacks: [", "mine.yaml:1: not YAML: expected the node content, but found '<stream end>'."),
    ("attacks:\n  p: \x00", "mine.yaml:2: not YAML: special characters are not allowed."),
    (
        "studies:\n  q:\n    architectures: [papers/lineer]\n",
        "mine.yaml:3: studies.q.architectures: got 'papers/lineer'. Did you mean 'papers/linear'<…>? Expected one of <…>",
    ),
    (
        "studies:\n  q:\n    architectures: [linear]\n    eps: 8\n",
        "mine.yaml:4: studies.q.eps: got 8, expected less than 1, the largest linf distance in [0, 1]. Did you mean 8/255?",
    ),
    (
        "defaults:\n  norm: l0\nstudies:\n  q:\n    architectures: [linear]\n",
        "mine.yaml:2: defaults.norm: got 'l0', expected linf, l2, l1 or an order p of at least 1.",
    ),
    (
        "attacks:\n  mine: native/pdg\nstudies:\n  q:\n    architectures: [linear]\n    attack: mine\n",
        "mine.yaml:6: studies.q.attack: alias 'mine': got 'native/pdg'. Did you mean 'native/pgd'<…>? Expected one of <…>",
    ),
]


@pytest.mark.parametrize(("text", "expected"), REGISTRIES)
def test_a_malformed_registry_is_told_by_file_line_and_key(text: str, expected: str, run: Callable[[str], Any]) -> None:
    Path("mine.yaml").write_text(text)
    done = run("rank q --registry mine.yaml")
    assert matches(expected, done.message), done.message
    assert done.code == 2


def test_a_registry_that_is_no_text_is_refused(run: Callable[[str], Any]) -> None:
    Path("mine.yaml").write_bytes(b"\xff\xfe\xfa")
    done = run("rank --registry mine.yaml")
    assert done.message == "--registry: got 'mine.yaml', which cannot be read (no text in UTF-8), expected a YAML file. Check the path."
