"""`robustradar rank` from the arguments to the files: what is printed, written, shared, repeated and told."""

import csv
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustradar import screening
from robustradar.cli import progress

Run = Callable[[str], Any]

TABLE = """\
  rank  95 %    candidate             clean accuracy % ↑*    parameters
------  ------  ------------------  ---------------------  ------------
     1  #–#     papers/mlp:width=4             #.# ±#.# a            98
     2  #–#     papers/linear                  #.# ±#.# a            34

* ranked by clean_accuracy. ± is half the 95 % interval, brackets hold one that lies askew; '95 %' is the interval of the rank.
a = selected-on-evaluation: the epoch was selected on the samples that it was measured on, and no split is held out for a final claim

Written: out/scores.json, out/scores.csv, out/ranking.md, out/report.html
"""


def masked(text: str) -> str:
    """Ranks' intervals and decimals as #; right-aligned numbers keep their column's width."""
    text = re.sub(r"\d+–\d+", "#–#", text)
    return re.sub(r" *\d+\.\d (±\d+\.\d|\[\d+\.\d, \d+\.\d\])", lambda m: "#.# ±#.#".rjust(len(m[0])), text)


def test_a_table_is_printed_and_four_files_are_written(run: Run, tiny: str) -> None:
    done = run(f"rank {tiny} --arch linear --arch mlp:width=4 --metric clean-accuracy --metric parameters")
    assert done.code == 0
    assert masked(done.out) == masked(TABLE)
    assert sorted(path.name for path in Path("out").iterdir()) == ["ranking.md", "report.html", "scores.csv", "scores.json"]
    document = json.loads(Path("out/scores.json").read_text())
    assert [row["candidate"] for row in document["ranking"]] == ["papers/mlp:width=4", "papers/linear"]
    rows = list(csv.DictReader(Path("out/scores.csv").read_text().splitlines()))
    assert [(row["candidate"], row["column"]) for row in rows] == [(row["candidate"], row["column"]) for row in document["scores"]]
    markdown = Path("out/ranking.md").read_text()
    assert markdown.startswith("# Ranking: rank\n\n2 candidates on native/npz:path=tiny.npz (40 train, 20 evaluation samples), threat ")
    assert f"```console\n{document['provenance']['command']}\n```" in markdown


def results() -> list[str]:
    return sorted(str(path.parent.relative_to("robustradar-results")) for path in Path("robustradar-results").glob("*/scores.json"))


def test_without_out_the_results_lie_in_a_folder_named_by_the_study(run: Run, tiny: str) -> None:
    study = "    architectures: [linear]\n    metrics: [baselines/parameters]\n    data: npz:path=tiny.npz\n"
    Path("mine.yaml").write_text(f"studies:\n  small:\n{study}")
    assert run("rank small --registry mine.yaml --store store --device cpu").code == 0
    assert results() == ["small"]
    changed = run("rank small --registry mine.yaml --eps 0.2 --store store --device cpu")
    (_, other) = results()
    assert re.fullmatch(r"small-[0-9a-f]{8}", other)
    assert changed.out.splitlines()[-1].startswith(f"Written: robustradar-results/{other}/scores.json, ")


def test_without_out_and_study_every_request_has_a_folder_of_its_own(run: Run, tiny: str) -> None:
    options = tiny.replace("--out out", "")
    assert run(f"rank {options} --arch linear --metric parameters").code == 0
    (first,) = results()
    assert re.fullmatch(r"rank-[0-9a-f]{8}", first)
    assert run(f"rank {options} --metric parameters --arch linear --json --quiet --store elsewhere").code == 0
    assert results() == [first]
    assert run(f"rank {options} --arch mlp:width=4 --metric parameters").code == 0
    assert run(f"rank {options} --arch mlp:width=4 --metric parameters --seeds 2").code == 0
    assert len(results()) == 3


def test_options_override_a_study_and_a_study_the_defaults(run: Run, tiny: str) -> None:
    Path("mine.yaml").write_text(
        "defaults:\n  norm: l2\n  eps: 0.3\nstudies:\n  small:\n    architectures: [linear]\n    metrics: [clean-accuracy]\n    eps: 0.2\n"
    )
    line = f"rank small {tiny} --registry mine.yaml --json"
    assert run(line).json["study"]["threat"] == {"norm": "l2", "eps": 0.2, "bounds": [0, 1]}
    assert run(f"{line} --eps 8/255").json["study"]["threat"] == {"norm": "l2", "eps": 8 / 255, "bounds": [0, 1]}
    assert run(f"{line} --arch mlp:width=4 --metric parameters").json["study"]["candidates"] == ["papers/mlp:width=4"]


def test_json_stands_alone_on_standard_output(run: Run, tiny: str) -> None:
    done = run(f"rank {tiny} --arch linear --metric parameters --json")
    assert done.out.strip() == Path("out/scores.json").read_text().strip()
    assert done.json["schema"] == "robustradar/1"
    assert done.err.splitlines()[-1] == "Written: out/scores.json, out/scores.csv, out/ranking.md, out/report.html"


def test_a_second_run_trains_nothing_and_says_the_same(run: Run, tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    line = f"rank {tiny} --arch linear --arch mlp:width=4 --metric clean-accuracy --metric robust-accuracy-trained --seeds 2 --json"
    first = run(line)
    monkeypatch.setattr("robustradar.execute.train", lambda *_, **__: pytest.fail("trained again"))
    monkeypatch.setattr("robustradar.execute.Execution.measure", lambda *_, **__: pytest.fail("measured again"))
    second = run(line)
    assert (first.code, second.code) == (0, 0)
    assert {fit["cached"] for fit in first.json["fits"]} == {False}
    assert {fit["cached"] for fit in second.json["fits"]} == {True}
    assert "0 epochs to train, 0 measurements to make" in second.err

    def timeless(text: str) -> str:
        return re.sub(r'("cached"|"time"): .*', r"\1", text)

    assert timeless(second.out) == timeless(first.out)


def test_the_same_seed_gives_the_same_bits_in_another_store(run: Run, tiny: str) -> None:
    line = f"rank {tiny} --arch mlp:width=4 --metric robust-accuracy-trained --seeds 2 --json"
    first, second = run(line).json, run(f"{line} --store other").json
    assert first["scores"] == second["scores"]
    for one, other in zip(first["fits"], second["fits"], strict=True):
        assert one["key"] == other["key"]
        assert Path(one["weights"]).read_bytes() == Path(other["weights"]).read_bytes()
    seeds = {fit["spec"]["seed"]: Path(fit["weights"]).read_bytes() for fit in first["fits"]}
    assert seeds[0] != seeds[1]


def test_a_candidate_given_twice_counts_once(run: Run, tiny: str) -> None:
    done = run(f"rank {tiny} --arch linear --arch papers/linear:bias=true --arch linear --metric parameters --json")
    assert done.json["study"]["candidates"] == ["papers/linear"]
    assert len(done.json["scores"]) == 1


def test_one_candidate_is_as_good_as_many(run: Run, tiny: str) -> None:
    done = run(f"rank {tiny} --arch linear --json")
    assert done.code == 0
    assert [(row["rank"], row["rank_low"], row["rank_high"]) for row in done.json["ranking"]] == [(1, 1, 1)]


def test_regression_is_ranked_by_losses(run: Run, tiny: str) -> None:
    arrays = dict(np.load("tiny.npz"))
    arrays |= {f"y_{name}": arrays[f"x_{name}"].mean((1, 2, 3)) for name in ("train", "test")}
    np.savez("float.npz", **arrays)
    done = run(f"rank {tiny} --data npz:path=float.npz --arch linear --arch mlp:width=4 --metric clean-accuracy --json")
    assert done.code == 0
    assert done.json["study"]["data"]["classes"] is None
    assert done.json["ranked_by"] == ["clean_loss"]
    assert len(done.json["ranking"]) == 2
    states = {(row["column"], row["state"], row["reason"]) for row in done.json["scores"]}
    assert states == {
        ("clean_accuracy", "skipped", "an accuracy needs classes, and the data are regression"),
        ("clean_loss", "measured", None),
    }


def test_a_held_out_split_is_claimed_on_and_lifts_the_flag(run: Run, tiny: str) -> None:
    arrays = dict(np.load("tiny.npz"))
    np.savez("final.npz", **arrays, x_final=arrays["x_test"], y_final=arrays["y_test"])
    done = run(f"rank {tiny} --data npz:path=final.npz --arch linear --metric clean-accuracy --seeds 2")
    assert "selected-on-evaluation" not in done.out
    markdown = Path("out/ranking.md").read_text()
    lead = "On samples that were used for no selection, papers/linear has (intervals span the seeds' own):"
    assert f"\n\n{lead}\n\n- clean accuracy: " in markdown


def test_accuracies_of_first_success_attacks_are_measured_and_their_losses_skipped(run: Run, tiny: str) -> None:
    attack = "--attack native/square:queries=5"
    done = run(f"rank {tiny} --arch linear --metric robust-accuracy {attack} --json")
    assert [(row["column"], row["state"]) for row in done.json["scores"]] == [
        ("robust_accuracy", "measured"),
        ("robust_loss", "skipped"),
    ]


# Candidates that fail

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

def wrong_shape(shape, outputs):
    "Maps to something else."
    return nn.Flatten()

def no_net(shape, outputs):
    "Builds something else."
    return 3

@robustradar.hookimpl
def robustradar_architectures():
    return tuple(map(robustradar.architecture, (crash, wrong_shape, no_net)))
"""


def test_candidates_that_fail_say_why_and_the_others_are_ranked(run: Run, tiny: str) -> None:
    Path("nets.py").write_text(NETS)
    candidates = "linear mnist-cnn nets/crash nets/wrong_shape nets/no_net"
    line = f"rank {tiny} --plugin nets.py " + " ".join(f"--arch {name}" for name in candidates.split())
    done = run(f"{line} --metric clean-accuracy --json")
    assert done.code == 3
    assert [row["candidate"] for row in done.json["ranking"]] == ["papers/mnist-cnn", "papers/linear"]
    reasons = {row["candidate"]: row["reason"] for row in done.json["scores"] if row["state"] == "failed"}
    assert "RuntimeError: kaboom" in reasons["nets/crash"]
    assert reasons["nets/wrong_shape"] == "architecture nets/wrong_shape (nets.py): maps a batch of 2 to [2, 16], expected [2, 2]."
    assert reasons["nets/no_net"] == "architecture nets/no_net (nets.py): build() returned int, expected a torch.nn.Module."
    assert {row["candidate"] for row in done.json["unranked"]} == set(reasons)
    assert done.err.splitlines()[-1] == "6 of 10 cells failed; their reasons are in the results."
    again = run(f"{line} --metric clean-accuracy --json")
    remembered = " (kept from an earlier run; it is tried again with another --store)"
    told = [row | {"reason": (row["reason"] or "").removesuffix(remembered) or None} for row in again.json["scores"]]
    assert (again.code, told) == (3, done.json["scores"])
    assert [row["reason"].endswith(remembered) for row in again.json["scores"] if row["state"] == "failed"] == [True] * 6


def test_a_candidate_that_cannot_take_the_input_fails_alone(run: Run, tiny: str) -> None:
    x = np.random.default_rng(0).random((60, 5), dtype=np.float32)
    y = (x.mean(1) > 0.5).astype(np.int64)
    np.savez("features.npz", x_train=x[:40], y_train=y[:40], x_test=x[40:], y_test=y[40:])
    done = run(f"rank {tiny} --data npz:path=features.npz --arch mlp:width=4 --arch cnn --metric clean-accuracy")
    assert done.code == 3
    assert (
        "\nNo rank: papers/cnn: clean_accuracy failed\n\n"
        "papers/cnn failed: architecture papers/cnn (robustradar 0.1.0): ValueError: cnn: got inputs of shape "
        "[5], expected images [channels, height, width]. Use papers/linear or papers/mlp, which take features.\n"
        "  clean_accuracy, clean_loss\n"
    ) in done.out
    assert "     1  1–1     papers/mlp:width=4" in done.out
    assert "     –          papers/cnn                         failed" in done.out


def test_training_that_diverges_is_a_failure_with_its_epoch(run: Run, tiny: str) -> None:
    options = "--recipe quick:epochs=2,lr=1e30 --metric clean-accuracy --metric parameters --json"
    done = run(f"rank {tiny} --arch linear --arch mlp:width=4 {options}")
    assert done.code == 3
    (reason,) = {row["reason"] for row in done.json["scores"] if row["candidate"] == "papers/mlp:width=4"} - {None}
    assert re.fullmatch(r"training: diverged: the loss is not finite after epoch [12] of 2.*\. Use a smaller lr\.", reason)
    assert [row["state"] for row in done.json["scores"] if row["column"] == "parameters"] == ["measured", "measured"]
    assert done.json["fits"] == []


# Progress

TAGGED = """\
import robustradar
from torch import nn

def tagged(shape, outputs, tag: str = "x"):
    "One layer."
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(outputs))

@robustradar.hookimpl
def robustradar_architectures():
    return (robustradar.architecture(tagged),)
"""


def test_plain_lines_tell_candidate_fit_epoch_and_time_left_where_there_is_no_terminal(
    run: Run, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.0)
    done = run(f"rank {tiny} --arch linear --metric clean-accuracy --metric robust-accuracy-trained")
    assert [re.sub(r"about \d+ s", "about # s", line) for line in done.err.splitlines()] == [
        "4 epochs to train, 2 measurements to make",
        "papers/linear [clean, seed 0]: epoch 1/2; 1/4 in all",
        "papers/linear [clean, seed 0]: epoch 2/2; 2/4 in all, about # s left",
        "measured baselines/clean-accuracy of papers/linear; 1/2 measurements",
        "papers/linear [adversarial linf 8/255 native/pgd, seed 0]: epoch 1/2; 3/4 in all, about # s left",
        "papers/linear [adversarial linf 8/255 native/pgd, seed 0]: epoch 2/2; 4/4 in all, about # s left",
        "measured baselines/robust-accuracy-trained of papers/linear; 2/2 measurements",
    ]


def test_where_nothing_is_trained_measurements_tell_the_time_left(run: Run, tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.0)
    done = run(f"rank {tiny} --arch linear --arch mlp --metric parameters")
    assert [re.sub(r"about \d+ s", "about # s", line) for line in done.err.splitlines()] == [
        "0 epochs to train, 2 measurements to make",
        "measured baselines/parameters of papers/linear; 1/2 measurements",
        "measured baselines/parameters of papers/mlp; 2/2 measurements, about # s left",
    ]


def test_quiet_means_quiet(run: Run, tiny: str) -> None:
    assert run(f"rank {tiny} --arch linear --metric clean-accuracy --quiet").err == ""


def test_failures_are_told_at_once_a_line_a_reason(run: Run, tiny: str) -> None:
    Path("nets.py").write_text(NETS)
    done = run(f"rank {tiny} --plugin nets.py --arch nets/no_net --metric clean-accuracy")
    assert done.err.splitlines()[1:] == [
        "failed: nets/no_net [clean, seed 0]: build() returned int, expected a torch.nn.Module.",
        "failed: baselines/clean-accuracy of nets/no_net: build() returned int, expected a torch.nn.Module.",
        "2 of 2 cells failed; their reasons are in the results.",
    ]


def test_on_a_terminal_a_bar_is_drawn_and_cleared(run: Run, tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("nets.py").write_text(NETS)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda _: True)
    done = run(f"rank {tiny} --plugin nets.py --arch linear --arch nets/no_net --metric clean-accuracy --json")
    assert done.json["schema"] == "robustradar/1"
    assert "epochs" in done.err and "left" in done.err
    assert "failed: nets/no_net [clean, seed 0]: build() returned int, expected a torch.nn.Module." in done.err


def test_at_80_columns_the_bar_keeps_its_numbers_and_cuts_what_is_going_on(run: Run, tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda _: True)
    done = run(f"rank {tiny} --arch linear --metric clean-accuracy --json")
    plain = re.sub(r"\x1b\[[^A-Za-z]*[A-Za-z]", "", done.err)
    frames = [frame.strip() for frame in re.split(r"[\r\n]+", plain) if "epochs" in frame]
    assert frames
    assert max(map(len, frames)) <= 80
    assert all(re.search(r" [0-2]/2 +epochs \d:\d\d:\d\d left [-\d]:[-\d]{2}:[-\d]{2} \w+", frame) for frame in frames), frames
    assert frames[-1].endswith("measured baselines/clean-acc…")


def test_damaged_fits_are_added_to_what_lies_ahead(run: Run, tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.0)
    line = f"rank {tiny} --arch linear --arch mlp:width=4 --metric clean-accuracy"
    assert run(line).code == 0
    for record in [*Path("store").glob("fits/*/*/fit.json"), *Path("store").glob("outcomes/*/*/outcome.json")]:
        record.write_text("damaged")
    done = run(line)
    counts = [tuple(map(int, found)) for found in re.findall(r"; (\d+)/(\d+) in all", done.err)]
    assert counts == [(1, 2), (2, 2), (3, 4), (4, 4)]
    assert re.findall(r"-\d+ s left", done.err) == []


def test_names_in_progress_cannot_steer_the_terminal(run: Run, tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.0)
    Path("nets.py").write_text(TAGGED)
    done = run(f"rank {tiny} --plugin nets.py --arch 'nets/tagged:tag=\x1b[31mred' --metric clean-accuracy")
    assert "nets/tagged:tag=\ufffd[31mred" in done.out
    assert "nets/tagged:tag=\ufffd[31mred" in done.err
    assert "\x1b" not in done.out + done.err


def test_an_interruption_keeps_what_was_finished(run: Run, tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    line = f"rank {tiny} --arch linear --arch mlp:width=4 --metric clean-accuracy --json"

    def interrupted(self: Any, spec: Any, reason: str | None) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(progress.Lines, "fitted", interrupted)
        done = run(line)
    assert done.code == 130
    assert done.err.splitlines()[-1] == "Interrupted. What was finished is kept: the same command continues."
    assert done.out == ""
    assert [fit["cached"] for fit in run(line).json["fits"]] == [True, False]


def test_a_script_does_what_the_command_does(run: Run, tiny: str, tmp_path: Path) -> None:
    done = run(f"rank {tiny} --arch linear --metric clean-accuracy --json")
    request = screening.Request(("linear",), "npz:path=tiny.npz", recipe="quick:epochs=2,lr=0.03", metrics=("clean-accuracy",))
    result = screening.rank(screening.prepare(None, request), store=tmp_path / "own", device="cpu")
    assert result.json()["scores"] == done.json["scores"]
