"""`robustradar funnel` from the arguments to the files: who goes on, what is written, kept and told."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from robustradar import funnel, screening
from robustradar.cli import progress
from robustradar.report.cell import short

Run = Callable[[str], Any]

FILE = Path("stages.yaml")

WIDTHS = " ".join(f"--arch mlp:width={width}" for width in (1, 2, 3, 4, 6, 8, 12, 16))

FEW = " ".join(f"--arch mlp:width={width}" for width in (1, 2, 8, 16))


class Killed(BaseException):
    """As good as SIGKILL: nobody handles it."""


def test_who_may_be_the_best_goes_on_and_everybody_is_told(run: Run, line: str) -> None:
    done = run(f"{line} {WIDTHS}")
    assert done.code == 0
    document = json.loads(Path("out/funnel.json").read_text())
    first, second, last = document["stages"]
    assert (first["candidates"], first["first"], len(first["kept"])) == (8, 5, 5)
    assert [row["stage"] for row in document["cut"]] == ["short"] * (5 - len(second["kept"])) + ["untrained"] * 3
    assert set(last["kept"]) == set(second["kept"]) <= set(first["kept"])
    assert [row["candidate"] for row in document["ranking"]] == last["kept"]
    everyone = [row["candidate"] for part in ("ranking", "cut", "unranked") for row in document[part]]
    assert sorted(everyone) == sorted(f"papers/mlp:width={w}" for w in (1, 2, 3, 4, 6, 8, 12, 16))
    table = [line.split() for line in done.out.splitlines()]
    kept, seconds = str(len(second["kept"])), table[2][9]
    assert table[0] == "stage tau candidates first kept cut no rank samples passed seconds best kept with".split()
    assert table[2] == ["1", "untrained", "0.65", "8", "5", "5", "3", "0", "16", seconds, ">=", "0.986"]
    assert table[3][:8] == ["2", "short", "0.8", "5", "3", kept, str(5 - len(second["kept"])), "0"]
    assert table[4][:4] == ["3", "long", kept, "0"]
    assert done.out.splitlines()[6:8] == [
        f"The truly best candidate is kept with a chance of at least {table[4][-1]} if each ranking and the truth are a Gaussian copula "
        "with the Kendall's tau that is assumed: untrained 0.65 (stages.yaml:7: studies.untrained.tau), short 0.8 (stages.yaml:11: "
        "studies.short.tau).",
        f"{short(document['work']['samples'])} samples passed forward and backward, "
        f"{100 * document['work']['share_of_last_stage_on_all']:.3g} % of what long would have taken on all 8, "
        "at the average of those that reached it.",
    ]
    assert "candidate           cut by     rank there    95 %\n" in done.out
    assert re.search(r"^papers/mlp:width=1  untrained  8             8–8$", done.out, re.M)
    assert done.out.splitlines()[-1] == "Written: out/funnel.json, out/funnel.md, out/1-untrained/, out/2-short/, out/3-long/"
    page = Path("out/funnel.md").read_text()
    assert page.startswith("# Funnel: untrained → short → long\n\n| stage ")
    assert re.findall(r"^## (.*)$", page, re.M) == ["Ranking of long", "Cut earlier", "Stages in full", "Repeat"]
    assert "- [short](2-short/)\n" in page
    assert "```console\nrobustradar funnel untrained short long --registry stages.yaml " in page


def test_work_that_stages_share_counts_once(run: Run, line: str) -> None:
    again = FILE.read_text().replace("epochs=3", "epochs=1")
    FILE.write_text(again)
    document = run(f"{line} {FEW} --json").json
    untrained, short, long = (stage["cost"]["forward"] + stage["cost"]["backward"] for stage in document["stages"])
    assert (untrained > 0, short > 0, long) == (True, True, 0)
    assert document["work"]["samples"] == untrained + short


def test_each_stage_has_the_folder_that_rank_writes(run: Run, line: str, tiny: str) -> None:
    document = run(f"{line} {FEW} --json").json
    for n, name in enumerate(("untrained", "short", "long"), 1):
        folder = Path(f"out/{n}-{name}")
        assert document["stages"][n - 1]["folder"] == str(folder)
        assert sorted(path.name for path in folder.iterdir()) == ["scores.csv", "scores.json"]
    among = " ".join(f"--arch {candidate}" for candidate in document["stages"][0]["kept"])
    options = (
        tiny.replace("--recipe quick:epochs=2,lr=0.03 ", "").replace("--out out", "--out alone").replace("--store store", "--store other")
    )
    alone = run(f"rank short --registry stages.yaml {options} {among} --json").json
    staged = json.loads(Path("out/2-short/scores.json").read_text())
    cells = [{(row["candidate"], row["column"]): row["value"] for row in found["scores"]} for found in (alone, staged)]
    assert cells[0] == cells[1]
    assert alone["ranking"] == staged["ranking"]


def test_json_stands_alone_on_standard_output(run: Run, line: str) -> None:
    done = run(f"{line} {FEW} --json --quiet")
    assert done.out == Path("out/funnel.json").read_text() + "\n"
    assert done.json["schema"] == "robustradar-funnel/1"
    assert done.json["keep_best"] == 0.95
    assert done.json["stages"][0]["tau_from"] == "stages.yaml:7: studies.untrained.tau"
    assert done.json["stages"][2]["tau"] is None
    assert done.err.strip() == "Written: out/funnel.json, out/funnel.md, out/1-untrained/, out/2-short/, out/3-long/"


def test_progress_names_the_stage(run: Run, line: str) -> None:
    told = run(f"{line} --arch linear").err.splitlines()
    assert [text for text in told if text.startswith("stage")] == [
        "stage 1 of 3, untrained: 1 candidate",
        "stage 2 of 3, short: 1 candidate",
        "stage 3 of 3, long: 1 candidate",
    ]


def test_events_tell_of_every_stage_as_a_run(run: Run, line: str) -> None:
    assert run(f"{line} --arch linear --events log/events.jsonl --quiet").code == 0
    told = [json.loads(text) for text in Path("log/events.jsonl").read_text().splitlines()]
    planned = [event for event in told if event["event"] == "planned"]
    assert [event["study"]["name"] for event in planned] == ["untrained", "short", "long"]
    assert len({event["run"] for event in planned}) == 3
    done = run(f"{line} --arch linear --events . --quiet")
    assert (done.code, done.message) == (2, "--events: got '.', which cannot be written (Is a directory). Choose another file.")


def test_one_candidate_goes_through(run: Run, line: str) -> None:
    document = run(f"{line} --arch linear --json").json
    assert [stage["kept"] for stage in document["stages"]] == [["papers/linear"]] * 3
    assert [stage["best_kept_with"] for stage in document["stages"]] == [1.0, 1.0, 1.0]


TWINS = """
import robustradar
from torch import nn

def twin(shape, outputs, name: str = "a"):
    "The same network under many names."
    return nn.Sequential(nn.Flatten(), nn.Linear(16, outputs))

@robustradar.hookimpl
def robustradar_architectures():
    return (robustradar.architecture(twin),)
"""


def test_who_cannot_be_told_apart_stays(run: Run, line: str) -> None:
    Path("twins.py").write_text(TWINS)
    twins = " ".join(f"--arch twins/twin:name={name}" for name in "abcdefgh")
    FILE.write_text(FILE.read_text().replace("baselines/synflow", "clean-accuracy"))
    document = run(f"{line} --plugin twins.py {twins} --seeds 1 --json").json
    assert [len(stage["kept"]) for stage in document["stages"]] == [8, 8, 8]
    assert document["cut"] == []


NETS = """
import robustradar
from torch import nn

class Crash(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.last = nn.Linear(16, outputs)

    def forward(self, x):
        if self.training:
            raise RuntimeError("kaboom")
        return self.last(x.flatten(1))

def crash(shape, outputs):
    "Fails in training."
    return Crash(outputs)

def no_net(shape, outputs):
    "Builds something else."
    return 3

@robustradar.hookimpl
def robustradar_architectures():
    return tuple(map(robustradar.architecture, (crash, no_net)))
"""


def test_failures_are_listed_with_stage_and_reason(run: Run, line: str) -> None:
    Path("nets.py").write_text(NETS)
    done = run(f"{line} --plugin nets.py --arch linear --arch nets/crash --arch nets/no_net")
    assert done.code == 3
    document = json.loads(Path("out/funnel.json").read_text())
    assert [(row["stage"], row["candidate"]) for row in document["unranked"]] == [("untrained", "nets/no_net"), ("short", "nets/crash")]
    assert "kaboom" in document["unranked"][1]["reason"]
    assert "That holds among the candidates that could be ranked." in done.out
    assert re.search(r"^nets/crash +short +clean_accuracy failed: .*kaboom", done.out, re.M)
    assert "## Without a rank" in Path("out/funnel.md").read_text()
    assert re.fullmatch(r"\d+ of \d+ cells failed; their reasons are in the results\.", done.err.splitlines()[-1])


def test_where_nobody_is_left_the_later_stages_are_not_run(run: Run, line: str) -> None:
    Path("nets.py").write_text(NETS)
    done = run(f"{line} --plugin nets.py --arch nets/crash")
    assert done.code == 3
    assert "Stage short could rank nobody: the stages after it were not run." in done.out
    document = json.loads(Path("out/funnel.json").read_text())
    assert document["ranking"] == []
    assert [stage["name"] for stage in document["not_run"]] == ["long"]
    assert document["work"]["share_of_last_stage_on_all"] is None
    assert not Path("out/3-long").exists()


def test_where_nothing_failed_and_nobody_is_ranked_no_failures_are_counted(run: Run, line: str) -> None:
    first = "metrics: [baselines/activations]\n    ranker: rank-mean:columns=nwot"
    FILE.write_text(FILE.read_text().replace("metrics: [baselines/synflow]", first))
    done = run(f"{line} --arch linear")  # no ReLU: skipped
    assert done.code == 3
    assert done.err.splitlines()[-1] == "Nobody could be ranked; the reasons are in the results."
    assert "papers/linear  untrained     nwot skipped: no nn.ReLU" in done.out


# Stopped and continued


def timeless(document: Any) -> Any:
    """What two runs must share."""
    stages = [{**stage, "cost": None, "folder": None} for stage in document["stages"]]
    return [stages, document["ranking"], document["cut"], document["unranked"], document["work"]]


def test_a_killed_funnel_goes_on_to_the_same_end(run: Run, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed = run(f"{line} {FEW} --json --store undisturbed --out whole").json
    whole = funnel.write.write

    def killed(result: Any, reporters: Any, folder: Path) -> Any:
        if folder.name == "3-long":
            raise Killed
        return whole(result, reporters, folder)

    with monkeypatch.context() as patched:
        patched.setattr("robustradar.report.write.write", killed)
        with pytest.raises(Killed):
            run(f"{line} {FEW} --json")
    monkeypatch.setattr("robustradar.execute.train", lambda *_, **__: pytest.fail("trained again"))
    again = run(f"{line} {FEW} --json")
    assert again.code == 0
    assert timeless(again.json) == timeless(undisturbed)


def test_an_interruption_says_that_it_can_be_continued(run: Run, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: Any, spec: Any, reason: str | None) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(progress.Lines, "fitted", interrupted)
    done = run(f"{line} {FEW} --json")
    assert (done.code, done.out) == (130, "")
    assert done.err.splitlines()[-1] == "Interrupted. What was finished is kept: the same command continues."
    assert Path("out/1-untrained/scores.json").exists()


# What is typed

DRY = """\
stage          tau    candidates    first    best kept with
-----------  -----  ------------  -------  ----------------
1 untrained   0.65             8        5          >= 0.986
2 short        0.9          >= 5        2          >= 0.967
3 long                      >= 2                   >= 0.967

The truly best candidate is kept with a chance of at least 0.967 if each ranking and the truth are a Gaussian copula with the Kendall's
tau that is assumed: untrained 0.65 (stages.yaml:7: studies.untrained.tau), short 0.9 (--tau).
Who cannot be told from those by the 95 % interval of the rank goes on as well.
"""


def test_a_dry_run_says_how_many_go_on_and_does_nothing(run: Run, line: str) -> None:
    done = run(f"{line} {WIDTHS} --tau short=0.9 --dry-run")
    assert (done.code, done.out) == (0, DRY.replace("Kendall's\ntau", "Kendall's tau"))
    assert not Path("out").exists() and not Path("store").exists()
    stages = run(f"{line} {WIDTHS} --tau short=0.9 --dry-run --json").json["stages"]
    assert [(stage["name"], stage["tau"], stage["first"]) for stage in stages] == [
        ("untrained", 0.65, 5),
        ("short", 0.9, 2),
        ("long", None, 8),
    ]


def test_more_certainty_keeps_more(run: Run, line: str) -> None:
    def counts(keep: str) -> list[int]:
        return [stage["first"] for stage in run(f"{line} {WIDTHS} --dry-run --json --keep-best {keep}").json["stages"]]

    assert counts("0.5") < counts("0.95") < counts("0.999")


def test_the_candidates_may_be_those_of_the_first_study(run: Run, line: str) -> None:
    FILE.write_text(FILE.read_text().replace("synflow]", "synflow]\n    architectures: [linear, 'mlp:width=2']"))
    assert [stage["candidates"] for stage in run(f"{line} --json").json["stages"]] == [2, 2, 2]


WRONG = {
    "funnel short --registry stages.yaml": (
        "STAGE: got 1, expected at least two studies, from cheap to dear. For one study use robustradar rank."
    ),
    "funnel short long short --registry stages.yaml": "STAGE: got 'short' twice, expected each study once. Drop one.",
    "funnel short lnog --registry stages.yaml --arch linear": "STAGE: got 'lnog'. Did you mean 'long'? Expected one of ",
    "funnel shrt lnog --registry stages.yaml": "STAGE: got 'shrt'. Did you mean 'short'? Expected one of ",
    "funnel long short --registry stages.yaml --arch linear": (
        "--tau: got none for the stage 'long', and its study has none, expected Kendall's tau of its ranking with the truth. "
        "Give --tau long=TAU: robustradar fidelity measures it."
    ),
    "funnel short long --registry stages.yaml": "--arch: got no candidate, expected at least one. ",
    "funnel short long --registry stages.yaml --tau 0.5": "--tau: got '0.5', expected STAGE=TAU, for example short=0.8.",
    "funnel short long --registry stages.yaml --tau short=1": (
        "--tau: got 'short=1', expected a number between 0 and 1, both excluded, for example short=0.8."
    ),
    "funnel short long --registry stages.yaml --tau short=.5 --tau short=.6": "--tau: got 'short' twice, expected it once.",
    "funnel short long --registry stages.yaml --tau shrt=.5": "--tau: got 'shrt', expected one of short. Did you mean 'short'?",
    "funnel short long --registry stages.yaml --tau long=.5": "--tau: got one for 'long', the last stage, which cuts nobody. Drop it.",
    "funnel short long --registry stages.yaml --keep-best 1": (
        "--keep-best: got 1, expected a chance between 0 and 1, both excluded, such as 0.95."
    ),
}


@pytest.mark.parametrize("command", WRONG)
def test_what_makes_no_funnel_is_refused(run: Run, line: str, command: str) -> None:
    done = run(command)
    assert done.code == 2
    assert done.message.startswith(WRONG[command])
    if WRONG[command].endswith((".", "?")):
        assert done.message == WRONG[command]


def test_the_help_has_two_examples(run: Run) -> None:
    done = run("funnel --help")
    assert done.out.count("\n    robustradar funnel ") == 2


# On digits


def test_on_digits_the_widest_gets_to_the_end(run: Run) -> None:
    Path("digits.yaml").write_text(
        "defaults:\n  data: native/digits:train_limit=300,eval_limit=100\n  eps: 0.05\nstudies:\n"
        "  untrained:\n    metrics: [synflow, parameters]\n    ranker: rank-mean:columns=synflow\n    tau: 0.7\n"
        "  short:\n    metrics: [clean-accuracy, fgsm-accuracy]\n    recipe: quick:epochs=2\n    tau: 0.8\n"
        "  long:\n    metrics: [clean-accuracy, fgsm-accuracy]\n    recipe: quick:epochs=6\n"
    )
    widths = " ".join(f"--arch mlp:width={w}" for w in (1, 2, 3, 4, 6, 8, 32, 128))
    document = run(f"funnel untrained short long --registry digits.yaml {widths} --store store --out out --device cpu --json").json
    assert document["stages"][0]["kept"][:2] == ["papers/mlp:width=128", "papers/mlp:width=32"]
    assert document["ranking"][0]["candidate"] == "papers/mlp:width=128"
    assert document["stages"][1]["candidates"] < 8
    assert {"papers/mlp:width=1", "papers/mlp:width=2"} <= {row["candidate"] for row in document["cut"]}


def test_stages_of_the_same_data_load_them_once(run: Run, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loads = []
    load = screening.loaded
    monkeypatch.setattr(screening, "loaded", lambda catalog, ref: loads.append(ref.label) or load(catalog, ref))
    assert run(f"{line} {FEW} --dry-run").code == 0
    assert len(loads) == 1
    loads.clear()
    FILE.write_text(
        Path("stages.yaml")
        .read_text()
        .replace("    tau: 0.8", "    tau: 0.8\n    data: digits")
        .replace("[csv]", "[csv]\n  data: npz:path=tiny.npz")
    )
    assert run(f"{line.replace('--data npz:path=tiny.npz ', '')} {FEW} --dry-run").code == 0
    assert [label.partition(":")[0] for label in loads] == ["native/npz", "native/digits"]
