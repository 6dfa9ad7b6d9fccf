"""Whether a score predicts what full adversarial training yields: judged on a table of truths, always beside trivial scores.

`robustradar fidelity` calls this. From Python:

    truth = read(Path("table.csv"), Reading(candidate="papers/nasbench201:cell={arch}", truth="accuracy", sample=150))
    result = computed(truth, Scoring(Request(metrics=("clean-accuracy",), data="digits")))
    found = fidelity(truth, [Document.of(result)])
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

import robustradar
from robustradar.errors import UsageError
from robustradar.fidelity.judgement import Agreement, Difference, Fidelity, Judgement, Price, judged
from robustradar.fidelity.score import COUNT, groups, judgeables
from robustradar.fidelity.scoring import Entries, Scoring, computed, lenient, ranked
from robustradar.fidelity.truth import Reading, Truth, part, read

if TYPE_CHECKING:
    from robustradar.report.document import Document

__all__ = [
    "Agreement",
    "Difference",
    "Entries",
    "Fidelity",
    "Judgement",
    "Price",
    "Reading",
    "Scoring",
    "Truth",
    "computed",
    "fidelity",
    "part",
    "read",
]


def fidelity(
    truth: Truth, runs: Sequence[Document] = (), entries: Entries | None = None, scoring: Scoring | None = None, command: str = ""
) -> Fidelity:
    """Judges the runs' directed columns, and what else is asked for, against a truth. Nothing is trained or measured.

    Args:
        truth: From `read`.
        runs: Documents of finished runs, or of what `computed` returned.
        entries: What else is judged; None: nothing.
        scoring: Its plugins and registry name candidates and rankers; None: what is installed.
        command: What was typed, for the provenance.

    Raises:
        UsageError: There is nothing to judge, a score or ranker is unknown, or the runs hold none of the candidates.
        PluginError: A ranker failed.
    """
    entries, scoring = entries or Entries(), scoring or Scoring()
    if not (runs or entries.scores or entries.trivial):
        raise UsageError("fidelity: got nothing to judge, expected a score. Give --metric, --run or --score.")
    if entries.rankers and not runs:
        raise UsageError("--ranker: got a ranker and no run, expected numbers that it can rank by. Give --metric or --run.")
    strange = bool(runs) and not {name for run in runs for name in run.order}.issuperset(truth.candidates)
    catalog = scoring.catalog() if strange or entries.rankers else None
    called = lenient(truth, catalog) if strange and catalog else {}
    found = groups(truth, runs, called)
    scores = judgeables(truth, found, entries.scores, entries.trivial)
    if catalog:
        for text in dict.fromkeys(entries.rankers):
            orders = [ranked(truth, group, text, catalog, called) for group in found]
            several = len(orders) > 1
            scores += [
                dataclasses.replace(order, name=f"{order.name} [{group.run}]" if several else order.name)
                for order, group in zip(orders, found, strict=True)
            ]
    sizes = next((score.values for score in scores if score.trivial == COUNT), None)
    judgements = judged(truth, scores, sizes if sizes is not None and np.isfinite(sizes).any() else None, truth.reading.seed)
    return dataclasses.replace(judgements, provenance={"robustradar": robustradar.__version__, "command": command})
