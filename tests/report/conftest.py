"""A small result, made by hand."""

import math

import pytest

from robustradar import Column, Failed, Measured, Ranking, RankingRow, Result, Score, Skipped, Study, Task, Threat
from robustradar.values import Cost, FitRecord, FitUse, MeasurementUse, Ref

ACCURACY, LOSS = Column("clean_accuracy", "higher", "fraction"), Column("clean_loss", "lower", "loss")
SIZE = Column("parameters", "none", "1")


def ref(text: str) -> Ref:
    return Ref(text.partition(":")[0], (), "test", text)


@pytest.fixture
def result() -> Result:
    task = Task(ref("native/digits"), "f" * 40, (1, 8, 8), 10, 10, (0.0, 1.0), {"train": 100, "evaluation": 20, "final": 10})
    names = ("papers/mlp:width=32", "papers/cnn", "papers/linear")
    study = Study(
        "quick|start",
        tuple(map(ref, names)),
        task,
        Threat(math.inf, 8 / 255, (0.0, 1.0)),
        ref("native/pgd"),
        ref("native/quick"),
        (ref("baselines/clean-accuracy"), ref("baselines/parameters")),
        ref("native/rank-mean"),
        (),
        (0, 1),
    )
    held = {"held_out": {"value": 0.9, "low": 0.8, "high": 0.95, "n": 10}}
    selected = ("selected-on-evaluation",)

    def cells(name: str, accuracy: object, loss: object, size: object) -> list[Score]:
        clean = "baselines/clean-accuracy"
        return [
            Score(name, clean, ACCURACY, accuracy),  # type: ignore[arg-type]
            Score(name, clean, LOSS, loss),  # type: ignore[arg-type]
            Score(name, "baselines/parameters", SIZE, size),  # type: ignore[arg-type]
        ]

    failed = Failed("ValueError: | <b>not</b> today", "architecture papers/linear (robustradar 0.1.0)")
    scores = (
        *cells(names[0], Measured(0.75, 0.7, 0.8, selected), Measured(0.5, 0.4, 0.6), Measured(1234567.0)),
        *cells(names[1], Measured(0.875, 0.8, 0.9, ("my-<b>own", *selected), held), Skipped("no losses"), Measured(850.0)),
        *cells(names[2], failed, failed, failed),
    )
    ranking = Ranking(
        (RankingRow(1, 1, 2, names[1], 1.0), RankingRow(2, 1, 2, names[0], 2.0)),
        ("clean_accuracy",),
        ((names[2], "clean_accuracy failed: ValueError: | <b>not</b> today"),),
    )
    fits = tuple(
        FitUse(FitRecord(f"{n:040d}", {"seed": n}, ({"epoch": 1, "train_clean_loss": 0.5},), 1, Cost(2000, 1000, 1.5)), n == 1, f"/s/{n}")
        for n in (0, 1)
    )
    provenance = {
        "command": "robustradar rank quickstart",
        "versions": {"robustradar": "0.1.0", "torch": "2.9.0"},
        "device": "cpu",
    }
    measurements = tuple(
        MeasurementUse(name, "baselines/clean-accuracy", seed, seed == 1, Cost(40, 20, 0.75)) for name in names[:2] for seed in (0, 1)
    )
    return Result(study, scores, ranking, fits, provenance, measurements)
