"""Ranks candidates by the truth that their places in chosen columns predict, as some candidates with a known truth teach it."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from robustradar import Ranker, Ranking, RankingRow, ScoreTable, UsageError, file_digest, fixed
from robustradar_native.ranker import Choice, RankMean, choice

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from robustradar.numerics.calibration import Calibration

_WHERE = "ranker calibrated: labels"


@dataclass(frozen=True)
class Label:
    """A candidate's truth, such as its robust accuracy after full adversarial training; more is better.

    Attributes:
        truth: In units of its own, which predictions then have, too; nan: it was not found.
        sd: Its standard deviation; 0: exact.
    """

    truth: float
    sd: float = 0.0


@dataclass(frozen=True)
class Calibrated(Ranker):
    """rank-mean with weights that labels teach: ridge regression of known truths on ranks, around equal weights, none below zero.

    The score is the predicted truth, for labelled candidates their own; a rank's interval is drawn from what the labels leave open. Without
    labels, or with too few of them, the ranking is rank-mean's.
    """

    name: str = fixed("calibrated")
    labels: Annotated[str, Field(description="CSV of candidate,truth and perhaps sd: candidates that were trained in full")] = ""
    columns: Annotated[tuple[str, ...], Field(description="columns to rank by, joined by +; none: each metric's first that applies")] = ()
    draws: Annotated[int, Field(ge=100, description="draws for the intervals of ranks")] = 1000

    def content(self) -> str:
        """The labels."""
        return file_digest(self.labels)

    def rank(self, table: ScoreTable) -> Ranking:
        """Candidates with a number in every chosen column, by predicted truth; the others are unranked, with the reason."""
        from robustradar.numerics import calibration

        given = read(self.labels) if self.labels else {}
        labels = {name: label for name, label in given.items() if not math.isnan(label.truth)}
        found = choice(table, self.columns, self.name)
        features, places = _places(found, labels) if found.placed else (None, found)
        known = [labels[name] for name in places.placed if name in labels]
        unused = _unused(len(given) - len(known))
        if features is None:
            return replace(RankMean(columns=self.columns, draws=self.draws).rank(table), notes=unused)
        import numpy as np

        labelled = np.array([name in labels for name in places.placed])
        truth = np.array([label.truth for label in known])
        reason = calibration.obstacle(features[labelled], truth)
        fit = None if reason else calibration.calibration(features[labelled], truth)
        if fit is None or not fit.weights.any():
            why = reason or f"the truth of the {len(truth)} labels does not rise with these columns"
            note = f"Not calibrated: {why}. The order and the scores are rank-mean's."
            return replace(RankMean(columns=self.columns, draws=self.draws).rank(table), notes=(note, *unused))
        rows = self._rows(fit, features, places.placed, labels)
        notes, details = _account(fit, truth, found)
        values, spreads = calibration.predicted(fit, features)
        predicted = {name: {"value": float(v), "sd": float(s)} for name, v, s in zip(places.placed, values, spreads, strict=True)}
        details["predictions"] = dict(sorted(predicted.items()))
        return Ranking(rows, found.names, found.unranked, (*notes, *unused), details, "predicted truth")

    def _rows(
        self, fit: Calibration, features: NDArray[np.float64], placed: tuple[str, ...], labels: Mapping[str, Label]
    ) -> tuple[RankingRow, ...]:
        """The candidates by predicted or known truth."""
        import numpy as np

        from robustradar.numerics import agreement, calibration

        known = np.array([labels[name].truth if name in labels else math.nan for name in placed])
        sd = np.array([labels[name].sd if name in labels else 0.0 for name in placed])
        score = np.where(np.isnan(known), calibration.predicted(fit, features)[0], known)
        ranks = agreement.competition_ranks(score, higher=True)
        low, high = calibration.rank_intervals(fit, features, known, sd, draws=self.draws, seed=0)
        rows = [RankingRow(int(ranks[i]), int(low[i]), int(high[i]), name, float(score[i])) for i, name in enumerate(placed)]
        return tuple(sorted(rows, key=lambda row: (row.rank, row.candidate)))


def _places(found: Choice, labels: Mapping[str, Label]) -> tuple[NDArray[np.float64], Choice]:
    """Standings, and the candidates in an order that neither names nor places in the table decide, so that rounding does not, either."""
    import numpy as np

    from robustradar.numerics import calibration

    features = calibration.standings(found.points(), found.higher)
    own = [(labels[name].truth, labels[name].sd) if name in labels else (-math.inf, 0.0) for name in found.placed]
    order = np.lexsort(np.column_stack([features, own]).T)
    return features[order], replace(found, placed=tuple(found.placed[i] for i in order))


def _account(fit: Calibration, truth: NDArray[np.float64], found: Choice) -> tuple[tuple[str, ...], dict[str, object]]:
    """What the labels taught, in words and as JSON."""
    from robustradar.numerics import agreement

    tau = agreement.kendall(fit.left_out, truth)
    interval = agreement.kendall_interval(fit.left_out, truth, seed=0)
    L = len(truth)
    spread = ((truth - truth.mean()) * L / (L - 1)) ** 2  # about the mean of the others
    r2 = 1 - float(((truth - fit.left_out) ** 2).sum() / spread.sum())
    known = not math.isnan(tau)
    weights = [{"metric": m, "column": c, "weight": float(w)} for (m, c), w in zip(found.keys, fit.weights, strict=True)]
    details: dict[str, object] = {
        "labels": L,
        "weights": weights,
        "intercept": fit.intercept,
        "penalty": fit.lam if math.isfinite(fit.lam) else "infinite",
        "left_out_tau": tau if known else None,
        "left_out_tau_interval": list(interval) if known and interval else None,
        "left_out_r2": r2,
        "sd": fit.sd,
    }
    shown = ", ".join(f"{name} {weight:+.3g}" for name, weight in zip(found.names, fit.weights, strict=True))
    ends = f" [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else ""
    notes = [
        f"Calibrated by {L} labels: scores are the predicted truth, ±{1.96 * fit.sd:.3g} at best, and of labelled candidates their own.",
        f"Truth gained from last to first place: {shown}"
        + (" (equal: the labels do not tell the columns apart)." if math.isinf(fit.lam) and len(found.keys) > 1 else "."),
        f"Each label predicted by the others: Kendall's tau {f'{tau:.2f}{ends}' if known else 'undefined'}, R2 {r2:.2f}.",
    ]
    if r2 <= 0:
        notes.append("These columns predict the labels no better than the labels' mean does: do not rely on this order.")
    return tuple(notes), details


def _unused(count: int) -> tuple[str, ...]:
    """What became of the labels of others."""
    if not count:
        return ()
    return (f"{count} label{'s' * (count != 1)} not used: without a truth, or of candidates without a place here.",)


def read(path: str) -> dict[str, Label]:
    """The labels of a CSV file, by candidate, an empty truth as nan; columns other than candidate, truth and sd are ignored.

    Raises:
        UsageError: There is no such file, a column is missing, or a line holds no label or one for the second time.
    """
    advice = "Give a CSV file with the columns candidate and truth."
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            if missing := [name for name in ("candidate", "truth") if name not in (reader.fieldnames or ())]:
                raise UsageError(f"{_WHERE}: got {path!r} without the column {missing[0]}, expected candidate and truth. {advice}")
            found: dict[str, Label] = {}
            for row in reader:
                where = f"{path}:{reader.line_num}"
                name = (row["candidate"] or "").strip()
                if not name:
                    raise UsageError(f"{_WHERE}: {where}: got no candidate, expected its name as in the ranking. Complete the line.")
                if name in found:
                    raise UsageError(f"{_WHERE}: {where}: got {name!r} twice, expected it once. Give the mean of its truths, and its sd.")
                truth = _number(row["truth"], f"{where}: truth") if row["truth"] else math.nan
                found[name] = Label(truth, _number(row.get("sd") or "0", f"{where}: sd", least=0.0))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why = error.strerror if isinstance(error, OSError) else "no text in UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        raise UsageError(f"{_WHERE}: got {path!r}, which cannot be read ({why}). {advice}") from None
    return found


def _number(text: str, where: str, least: float = -math.inf) -> float:
    """A finite number.

    Raises:
        UsageError: It is none, or too small.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < least:
        wanted = "a number" if math.isinf(least) else f"a number of at least {least:g}"
        raise UsageError(f"{_WHERE}: {where}: got {text!r}, expected {wanted}. Correct the line, or drop it.")
    return value
