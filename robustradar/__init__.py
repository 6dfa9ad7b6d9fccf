"""RobustRadar: which architectures are worth adversarial training, how sure that is, and why.

The names below are what plugins and scripts may use, and these modules:

- ``robustradar.numerics``: free functions on tensors
- ``robustradar.analysis``: what metrics by curvature share
- ``robustradar.adapter``: what attacks of other libraries share
- ``robustradar.data``: checks and facts of a data set that is loaded
- ``robustradar.report``: renderings of a finished result
- ``robustradar.errors``: what can go wrong, with its exit code
- ``robustradar.conformance``: what every plugin promises, as tests
- ``robustradar.fidelity``: how well scores predict a truth
- ``robustradar.gate``: whether a run is worse than a kept one
"""

from robustradar.contract.architecture import Architecture, architecture
from robustradar.contract.attack import Attack, Victim
from robustradar.contract.dataset import Data, Dataset, Split
from robustradar.contract.declaration import Declaration, file_digest, fixed
from robustradar.contract.metric import Attacked, AttackNeed, Bench, Fit, FitNeed, Metric, Needs
from robustradar.contract.ranker import Ranker, ScoreTable
from robustradar.contract.recipe import Recipe
from robustradar.contract.reporter import Reporter
from robustradar.contract.weights import read_weights
from robustradar.errors import DataError, PluginError, RegistryError, RobustRadarError, StoreError, UsageError
from robustradar.hookspecs import hookimpl
from robustradar.values import (
    ADVERSARIAL,
    CLEAN,
    Column,
    Failed,
    FitRecord,
    FitSpec,
    Measured,
    Measurement,
    Objective,
    Outcome,
    Ranking,
    RankingRow,
    Result,
    Score,
    Skipped,
    Study,
    Task,
    Threat,
    headlines,
)

__version__ = "0.1.0"

__all__ = [
    "ADVERSARIAL",
    "CLEAN",
    "Architecture",
    "Attack",
    "AttackNeed",
    "Attacked",
    "Bench",
    "Column",
    "Data",
    "DataError",
    "Dataset",
    "Declaration",
    "Failed",
    "Fit",
    "FitNeed",
    "FitRecord",
    "FitSpec",
    "Measured",
    "Measurement",
    "Metric",
    "Needs",
    "Objective",
    "Outcome",
    "PluginError",
    "Ranker",
    "Ranking",
    "RankingRow",
    "Recipe",
    "RegistryError",
    "Reporter",
    "Result",
    "RobustRadarError",
    "Score",
    "ScoreTable",
    "Skipped",
    "Split",
    "StoreError",
    "Study",
    "Task",
    "Threat",
    "UsageError",
    "Victim",
    "architecture",
    "file_digest",
    "fixed",
    "headlines",
    "hookimpl",
    "read_weights",
]
