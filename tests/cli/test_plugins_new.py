"""`robustradar plugins new` and `robustradar plugins check`, as an author types them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[[str], Any]

SIGNS = '''\
from dataclasses import dataclass
from typing import Annotated

import robustradar
import torch
from pydantic import Field


@dataclass(frozen=True)
class RandomSigns(robustradar.Attack):
    """The worst of a few random corners of the ball."""

    tries: Annotated[int, Field(ge=1, description="corners")] = 4

    def perturb(self, victim, x, y):
        best, top = x, victim.loss(victim.model(x), y)
        for _ in range(self.tries):
            sign = torch.randint(0, 2, x.shape, generator=victim.generator) * 2 - 1
            near = x + victim.eps * sign
            near = near.clamp(*victim.bounds) if victim.bounds else near
            loss = victim.loss(victim.model(near), y)
            worse = loss > top
            best, top = torch.where(worse.view(-1, *[1] * (x.ndim - 1)), near, best), torch.maximum(loss, top)
        return best.detach()


@robustradar.hookimpl
def robustradar_attacks():
    return (RandomSigns(name="random", norms=(float("inf"),)),)
'''
SOUND = """\
attack signs/random
  ok         documented              Its class says in a sentence what it is.
  ok         typed                   Every default can be typed as it is shown, and keeps to its own limits.
  ok         described               Every parameter has a sentence, and every number has limits.
  ok         returns-inputs          perturb() returns finite float32 inputs of the shape of x, detached, at every norm that it declares.
"""


def test_a_sound_file_is_told_clause_by_clause(run: Run) -> None:
    Path("signs.py").write_text(SIGNS)
    done = run("plugins check signs.py")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(SOUND)
    assert done.out.endswith("\n\n15 clauses kept, 0 broken, 0 not tried.\n")


def test_a_broken_clause_is_told_and_ends_with_code_4(run: Run) -> None:
    Path("signs.py").write_text(SIGNS.replace(" if victim.bounds else near", "").replace(", generator=victim.generator", ""))
    done = run("plugins check signs.py")
    assert done.code == 4
    broken = [line.split(maxsplit=2)[1:] for line in done.out.splitlines() if "BROKEN" in line]
    assert [clause for clause, _ in broken] == ["follows-its-seed", "does-without-a-box"]
    assert broken[0][1].startswith("got two results from one seed, ")
    assert broken[1][1].endswith("expected perturbed inputs. Write x.clamp(*victim.bounds) if victim.bounds else x.")
    assert done.out.endswith("13 clauses kept, 2 broken, 0 not tried.\n")


def test_as_json_nothing_else_is_on_standard_output(run: Run) -> None:
    Path("signs.py").write_text(SIGNS.replace("best, top = x, ", "print('attacking')\n        best, top = x, "))
    done = run("plugins check signs/random:tries=2 --plugin signs.py --json")
    assert done.code == 0
    assert "attacking" in done.err
    assert done.json[0] == {
        "subject": "attack signs/random:tries=2",
        "clause": "documented",
        "state": "kept",
        "text": "Its class says in a sentence what it is.",
    }


def test_one_reason_for_several_clauses_is_told_once(run: Run) -> None:
    done = run("plugins check native/npz")
    assert done.code == 0
    reason = "its data cannot be read here: native/npz: got no path, expected an .npz file. Write npz:path=FILE."
    assert done.out.count(reason) == 1
    assert done.out.count("as before") == 3
    assert done.out.endswith("3 clauses kept, 0 broken, 4 not tried.\n")


def test_a_plugin_that_cannot_be_loaded_is_a_broken_clause(run: Run) -> None:
    Path("broken.py").write_text("1/0\n")
    for name in ("broken.py", "broken --plugin broken.py", "broken/x --plugin broken.py"):
        done = run(f"plugins check {name}")
        assert done.code == 4
        assert done.out.splitlines()[:2] == [
            "plugin broken",
            "  BROKEN     loads                   import: ZeroDivisionError: division by zero",
        ]


def test_a_file_without_hooks_declares_nothing(run: Run) -> None:
    Path("empty.py").write_text('"""Nothing."""\n')
    done = run("plugins check empty.py --json")
    assert done.code == 4
    assert [row["text"] for row in done.json] == [
        "got nothing declared, expected at least one declaration. Write a hook: robustradar.hookimpl above robustradar_…()."
    ]


def test_a_name_that_nothing_has_is_refused_with_a_suggestion(run: Run) -> None:
    done = run("plugins check native/pgdd")
    assert done.code == 2
    assert done.message.startswith("NAME: got 'native/pgdd'. Did you mean 'native/pgd'")
    assert done.message.endswith(" names (robustradar plugins list shows them).")


@pytest.mark.parametrize("place", ["signs.py", "package/__init__.py", "./package"])
def test_a_place_that_is_no_single_file_is_refused(place: str, run: Run) -> None:
    Path("package").mkdir()
    Path("package/__init__.py").write_text(SIGNS)
    assert run(f"plugins check {place}").message == (
        f"NAME: got {place!r}, expected a plugin's name or a single Python file. "
        "Check the path; a package is installed (pip install -e .) and then checked by its plugin's name."
    )


def test_new_writes_files_and_says_what_to_do_next(run: Run) -> None:
    done = run("plugins new attack noisy-signs")
    assert (done.code, done.err) == (
        0,
        "Now: cd noisy-signs && pip install -e . && robustradar plugins check noisy-signs && pytest\n",
    )
    assert done.out.splitlines() == [
        "noisy-signs/pyproject.toml",
        "noisy-signs/README.md",
        "noisy-signs/robustradar_noisy_signs/__init__.py",
        "noisy-signs/robustradar_noisy_signs/py.typed",
        "noisy-signs/tests/test_robustradar_noisy_signs.py",
    ]


@pytest.mark.parametrize("kind", ["attack", "architecture", "dataset", "metric", "ranker", "reporter"])
def test_every_kind_is_found_as_a_module_and_keeps_the_contract(kind: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = run(f"plugins new {kind} my-{kind} --out here --json").json
    assert listed["folder"] == "here"
    assert len(listed["files"]) == 5
    monkeypatch.syspath_prepend("here")
    done = run(f"plugins check robustradar_my_{kind} --plugin robustradar_my_{kind} --json")
    assert done.code == 0, done.out
    assert {row["state"] for row in json.loads(done.out)} == {"kept"}


def test_new_of_a_kind_that_is_none_is_refused(run: Run) -> None:
    done = run("plugins new recipe mine")
    assert done.code == 2
    assert done.err.startswith("robustradar: KIND: got 'recipe', expected one of architecture, attack, dataset, metric, ranker, reporter.")


@pytest.mark.parametrize("command", ["new", "check"])
def test_help_has_two_examples(command: str, run: Run) -> None:
    assert run(f"plugins {command} --help").out.count(f"robustradar plugins {command} ") >= 3  # the usage line and two examples
