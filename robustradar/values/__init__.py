"""The values that flow through a run: frozen, comparable, and JSON both ways.

A run reads from top to bottom: a `Study` says what is asked; a plan turns it into `FitSpec`s and `Measurement`s; these
yield `FitRecord`s and outcomes (`Measured`, `Skipped`, `Failed`); outcomes over seeds become `Score`s; scores become a
`Ranking`; a `Result` is all of it with its provenance. Nothing here imports torch, reads a file or knows a plugin.
"""

from robustradar.values.fit import (
    AttackUse,
    Cost,
    FitRecord,
    FitSpec,
    Measurement,
)
from robustradar.values.outcome import (
    Column,
    Direction,
    Failed,
    Measured,
    Outcome,
    Score,
    Skipped,
    headlines,
    outcome_of,
    stated,
)
from robustradar.values.result import (
    FitUse,
    MeasurementUse,
    Ranking,
    RankingRow,
    Result,
)
from robustradar.values.study import (
    ADVERSARIAL,
    CLEAN,
    Objective,
    Ref,
    Study,
    Task,
    Threat,
    Weights,
)
from robustradar.values.text import (
    JSON,
    canonical,
    counted,
    digest,
    norm_order,
    number,
    number_text,
)

__all__ = [
    "ADVERSARIAL",
    "AttackUse",
    "CLEAN",
    "Column",
    "Cost",
    "Direction",
    "Failed",
    "FitRecord",
    "FitSpec",
    "FitUse",
    "JSON",
    "Measured",
    "Measurement",
    "MeasurementUse",
    "Objective",
    "Outcome",
    "Ranking",
    "RankingRow",
    "Ref",
    "Result",
    "Score",
    "Skipped",
    "Study",
    "Task",
    "Threat",
    "Weights",
    "canonical",
    "counted",
    "digest",
    "headlines",
    "norm_order",
    "number",
    "number_text",
    "outcome_of",
    "stated",
]
