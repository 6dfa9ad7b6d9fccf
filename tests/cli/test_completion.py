"""Shell completion: what bash, zsh and fish are offered, without torch, and without a word where a plugin is broken."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from robustradar.cli import completion

ROBUSTRADAR = Path(sys.executable).with_name("robustradar")


def completed(words: str, shell: str = "bash", **variables: str) -> subprocess.CompletedProcess[str]:
    """What the shell is told, asked as its script asks."""
    asked = {
        "bash": {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)},
        "zsh": {"_TYPER_COMPLETE_ARGS": words},
        "fish": {"_TYPER_COMPLETE_ARGS": words, "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
    }[shell]
    environment = {**os.environ, "_ROBUSTRADAR_COMPLETE": f"complete_{shell}", **asked, **variables}
    return subprocess.run([ROBUSTRADAR], env=environment, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_is_offered_candidates(shell: str) -> None:
    found = completed("robustradar rank --arch papers/ml", shell)
    assert found.stderr == ""
    assert "papers/mlp" in found.stdout
    assert "papers/vgg" not in found.stdout


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("robustradar rank quickst", "quickstart"),
        ("robustradar plan --arch linear --attack native/pg", "native/pgd"),
        ("robustradar rank --metric baselines/clean", "baselines/clean-accuracy"),
        ("robustradar doctor --data native/dig", "native/digits"),
        ("robustradar rank --recipe qui", "quick"),
        ("robustradar plugins disable trad", "tradeoff"),
    ],
)
def test_names_are_offered_where_they_are_typed(words: str, offered: str) -> None:
    found = completed(words)
    assert (found.stderr, found.returncode) == ("", 0)
    assert offered in found.stdout.split()


# As bash breaks the line's last word, and what it is to put in place of the last piece.
BROKEN = [
    ("--arch papers/mlp :", ["activation=relu", "depth=2", "width=64"]),
    ("--arch mlp : wi", ["width=64"]),
    ("--arch papers/mlp : width = 3,", ["3,activation=relu", "3,depth=2"]),
    ("--arch papers/mlp : width = 3,de", ["3,depth=2"]),
    ("--arch = papers/mlp : wi", ["width=64"]),
    ("--arch = papers/ml", ["papers/mlp"]),
    ("--attack pgd-20 : res", ["restarts=1"]),
    ("--arch papers/mlp : width = 3 --attack native/pgd : relative", ["relative_step=none"]),
    ("--arch papers/nothing : wi", []),
    ('--metric robust-accuracy-trained : inner = "native/pgd : st', []),
]


@pytest.mark.parametrize(("line", "offered"), BROKEN)
def test_bash_is_offered_parameters_though_it_breaks_words_at_colons(line: str, offered: list[str]) -> None:
    words = f"robustradar rank {line}".split()
    found = completed("\n".join(words), COMP_CWORD=str(len(words) - 1))
    assert (found.stderr, found.returncode) == ("", 0)
    assert sorted(found.stdout.split()) == offered


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_are_offered_parameters_as_whole_words(shell: str) -> None:
    found = completed("robustradar rank --arch papers/mlp:width=3,de", shell)
    assert found.stderr == ""
    assert "papers/mlp:width=3,depth=2" in found.stdout.replace("\\", "")
    assert "activation" not in found.stdout


def test_a_broken_plugin_is_passed_over_in_silence() -> None:
    Path("noisy.py").write_text("import sys\nprint('hello')\nprint('hello', file=sys.stderr)\n1 / 0\n")
    found = completed("robustradar rank --plugin noisy.py --arch papers/ml")
    assert (found.stderr, found.stdout.split()) == ("", ["papers/mlp"])


def test_a_plugin_that_was_typed_before_is_offered_too() -> None:
    Path("nets.py").write_text(
        "import robustradar\ndef tiny(shape, outputs):\n    'Tiny.'\n"
        "@robustradar.hookimpl\ndef robustradar_architectures():\n    return (robustradar.architecture(tiny),)\n"
    )
    assert completed("robustradar rank --plugin nets.py --arch nets/").stdout.split() == ["nets/tiny"]


@pytest.mark.parametrize("words", ["rank --plugin missing.py --arch papers/ml", "rank --registry missing.yaml quick"])
def test_what_is_not_there_gives_no_offer_and_no_error(words: str) -> None:
    found = completed(f"robustradar {words}")
    assert (found.stdout.strip(), found.stderr) == ("", "")


@pytest.mark.parametrize("kind", ["architecture", "attack", "metric", "dataset", "recipe", "ranker"])
def test_offering_imports_no_torch(kind: str) -> None:
    program = (
        "import sys, typer, types\nfrom robustradar.cli import completion\n"
        f"assert completion.references({kind!r})(types.SimpleNamespace(params={{}}), '')\nprint('torch' in sys.modules)"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert printed.stdout == "False\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell_can_be_shown(shell: str) -> None:
    environment = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    command = [ROBUSTRADAR, "--show-completion", shell]
    shown = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    assert f"_ROBUSTRADAR_COMPLETE=complete_{shell}" in shown.stdout


def test_a_failing_registry_offers_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("bad.yaml").write_text("studies: [")
    context: Any = type("Context", (), {"params": {"registry": "bad.yaml"}})()
    offered: Callable[..., list[str]] = completion.studies
    assert offered(context, "") == []
