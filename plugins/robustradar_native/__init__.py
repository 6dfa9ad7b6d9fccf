"""RobustRadar's own attacks, data sets, recipes, rankers and reporters: no adversarial library is needed for them."""

from robustradar import Attack, Dataset, Ranker, Recipe, Reporter, hookimpl
from robustradar_native import attack, calibrated, dataset, ranker, recipe, reporter


@hookimpl
def robustradar_attacks() -> tuple[Attack, ...]:
    """Gradient attacks."""
    return attack.attacks()


@hookimpl
def robustradar_datasets() -> tuple[Dataset, ...]:
    """Digits, and files of one's own."""
    return dataset.datasets()


@hookimpl
def robustradar_recipes() -> tuple[Recipe, ...]:
    """Short annealed training."""
    return recipe.RECIPES


@hookimpl
def robustradar_rankers() -> tuple[Ranker, ...]:
    """Mean rank, and the same weighted by labels."""
    return (ranker.RankMean(), calibrated.Calibrated())


@hookimpl
def robustradar_reporters() -> tuple[Reporter, ...]:
    """CSV, Markdown and HTML."""
    return (reporter.Csv(), reporter.Markdown(), reporter.Html())
