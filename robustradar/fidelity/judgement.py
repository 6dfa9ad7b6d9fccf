"""What the scores are worth: agreement with the truth by slices, differences to the trivial scores, costs, and a verdict in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from robustradar.fidelity import statistic
from robustradar.fidelity.score import Judgeable
from robustradar.fidelity.statistic import FEWEST, FEWEST_PAIRS, FIRST, Floats, Slice
from robustradar.fidelity.truth import Truth
from robustradar.values import JSON

SCHEMA = "robustradar-fidelity/1"
# More candidates without a number than this are flagged: who is left out may be who is hard to predict.
GAP = 0.05
# More scores than this are remarked on; chosen here: of five scores that are worth the same, the best looks better by about one standard
# deviation of its tau.
MANY = 5


@dataclass(frozen=True)
class Agreement:
    """A score against the truth on one slice; None is what cannot be said there.

    Attributes:
        candidates: How many have a number.
        pairs: How many pairs count.
        tau: Kendall's tau-b.
        low: Lower end of its 95 % interval, by a bootstrap over candidates.
        high: Upper end.
        spearman: Spearman's rho; for a whole slice only, as the next three.
        regret: Truth lost by taking the score's first.
        recall: Share of the truth's first five among the score's.
        recall_tenth: The same of the first tenth.
        pool_regret: Truth lost on average in random pools of 20.
        pool_recall: Share of a pool's first five among the score's, on average.
    """

    candidates: int
    pairs: int
    tau: float | None = None
    low: float | None = None
    high: float | None = None
    spearman: float | None = None
    regret: float | None = None
    recall: float | None = None
    recall_tenth: float | None = None
    pool_regret: float | None = None
    pool_recall: float | None = None


@dataclass(frozen=True)
class Difference:
    """A score against a trivial one, on the candidates that have both, with paired bootstrap intervals.

    Attributes:
        to: The trivial one.
        slice: Of the candidates.
        candidates: How many have both.
        tau: Tau of the score less that of the trivial one.
        low: Lower end.
        high: Upper end.
        partial: Kendall's partial tau of the score given the trivial one, over all candidates only; None: one of them is the other's.
        partial_low: Lower end.
        partial_high: Upper end.
    """

    to: str
    slice: str
    candidates: int
    tau: float
    low: float
    high: float
    partial: float | None = None
    partial_low: float | None = None
    partial_high: float | None = None

    @property
    def better(self) -> bool:
        """Whether chance does not explain that the score is better."""
        return self.low > 0


@dataclass(frozen=True)
class Price:
    """What a score's candidates took, as a mean a candidate; shares are of what the truth's training took. None: not known."""

    passes: float
    share: float | None
    flops: float | None
    flops_share: float | None


@dataclass(frozen=True)
class Judgement:
    """One score.

    Attributes:
        name: As tables name it.
        direction: Of its numbers.
        trivial: What verdicts call it, if others must beat it.
        candidates: How many have a number.
        missing: How many have none.
        failed: For how many of these it failed.
        reasons: Why there is none, with how often.
        slices: By the slice's name.
        differences: To every trivial score but itself, on every slice.
        price: None where it is not known.
        verdict: In words.
    """

    name: str
    direction: str
    trivial: str
    candidates: int
    missing: int
    failed: int
    reasons: Mapping[str, int]
    slices: Mapping[str, Agreement]
    differences: tuple[Difference, ...]
    price: Price | None
    verdict: str

    @property
    def tau(self) -> float:
        """Over all candidates; below every tau where there is none."""
        found = self.slices["all"].tau
        return -2.0 if found is None else found

    @property
    def flags(self) -> list[str]:
        """What is to be known before it is trusted."""
        gap = self.missing / (self.missing + self.candidates)
        return [f"missing: {100 * gap:.1f} % of the candidates have no number"] if gap > GAP else []


@dataclass(frozen=True)
class Fidelity:
    """What is known of all scores.

    Attributes:
        truth: Facts of the table and what was taken of it.
        ceiling: By slice, the tau to be expected between the truth and another measurement of it; empty where its noise is not known.
        judgements: Best first by tau over all candidates.
        provenance: Version and command.
    """

    truth: Mapping[str, JSON]
    ceiling: Mapping[str, float]
    judgements: tuple[Judgement, ...]
    provenance: Mapping[str, str] = field(default_factory=dict)

    @property
    def slices(self) -> list[str]:
        """The slices' names."""
        return list(self.truth["slices"])

    @property
    def warnings(self) -> list[str]:
        """What is to be known of all scores together before one of them is trusted."""
        count = sum(not j.trivial and j.slices["all"].tau is not None for j in self.judgements)
        if count <= MANY:
            return []
        return [
            f"{count} scores were judged: each interval and verdict is of one score alone, and the best of so many looks better than it "
            "is. Report it on a part of the table that it was not chosen on (--part)."
        ]

    @property
    def failed(self) -> list[Judgement]:
        """The scores that failed for some candidates."""
        return [judgement for judgement in self.judgements if judgement.failed]

    def json(self) -> JSON:
        """The document of schema ``robustradar-fidelity/1``."""
        return {
            "schema": SCHEMA,
            "truth": dict(self.truth),
            "ceiling": dict(self.ceiling),
            "warnings": self.warnings,
            "scores": [
                {
                    **{name: getattr(j, name) for name in ("name", "direction", "candidates", "missing", "failed", "verdict", "flags")},
                    "trivial": j.trivial or None,
                    "reasons": dict(j.reasons),
                    "slices": {name: vars(found) for name, found in j.slices.items()},
                    "differences": [vars(difference) | {"better": difference.better} for difference in j.differences],
                    "cost": vars(j.price) if j.price else None,
                }
                for j in self.judgements
            ],
            "provenance": dict(self.provenance),
        }


def judged(truth: Truth, scores: Sequence[Judgeable], sizes: Floats | None, seed: int = 0) -> Fidelity:
    """Judges scores, trivial ones and others alike.

    Args:
        truth: What they are to predict.
        scores: Each with a value for every candidate, or none.
        sizes: Parameter counts [C] for size-matched pairs, nan where not known; None: no such slice.
        seed: Of bootstrap, pools and noise.
    """
    court = _Court(truth, statistic.slices(truth.values, sizes), seed)
    trivial = [score for score in scores if score.trivial]
    judgements = [court.judgement(score, [t for t in trivial if t.name != score.name]) for score in scores]
    noisy = bool(np.isfinite(truth.sd).all())
    ceilings = {s.name: statistic.ceiling(truth.values, truth.sd, s, seed) for s in court.slices if noisy and _enough(s)}
    ceiling = {name: found for name, found in ceilings.items() if not math.isnan(found)}  # a slice may be constant
    how = truth.reading
    facts = {
        **{"file": truth.file, "column": how.truth, "candidates": len(truth.values), "without_truth": truth.untold},
        **{"part": f"{how.part[0]}/{how.part[1]}" if how.part else None, "sample": how.sample, "seed": how.seed},
        **{name: float(getattr(np, name)(truth.values)) for name in ("min", "mean", "max")},
        "spread": float(truth.values.std(ddof=1)),
        "noise": float(truth.sd.mean()) if noisy else None,
        "noise_known": int(np.isfinite(truth.sd).sum()),
        "cost": float(np.nanmean(truth.cost)) if np.isfinite(truth.cost).any() else None,
        "slices": {s.name: {"candidates": len(s.members), "pairs": s.pairs} for s in court.slices},
    }
    return Fidelity(facts, ceiling, tuple(sorted(judgements, key=lambda j: (-j.tau, j.name))))


def _enough(part: Slice) -> bool:
    """Whether a slice has what it takes to be judged."""
    return len(part.members) >= FEWEST and part.pairs >= FEWEST_PAIRS


class _Court:
    """The truth with what all scores share: slices, resamples and pools.

    Args:
        truth: What is to be predicted.
        slices: Of it.
        seed: Of all chance.
    """

    def __init__(self, truth: Truth, slices: tuple[Slice, ...], seed: int) -> None:
        self.truth, self.slices, self.seed = truth, slices, seed
        self._counts = statistic.resamples(len(truth.values), statistic.DRAWS, seed)
        self._taus: dict[tuple[str, str, bytes], tuple[float, Floats]] = {}
        self._pools: dict[tuple[str, bytes], list[statistic.Places]] = {}

    def judgement(self, score: Judgeable, trivial: Sequence[Judgeable]) -> Judgement:
        """One score, compared with the trivial ones."""
        known = np.isfinite(score.values)
        slices = {s.name: self._agreement(score, s.among(known)) for s in self.slices}
        differences = tuple(d for t in trivial for s in self.slices if (d := self._difference(score, t, s)) is not None)
        missing = int((~known).sum())
        verdict = _verdict(score, slices["all"], differences, {t.name: t.trivial for t in trivial})
        return Judgement(
            name=score.name,
            direction=score.direction,
            trivial=score.trivial,
            candidates=len(known) - missing,
            missing=missing,
            failed=score.failed,
            reasons=score.reasons,
            slices=slices,
            differences=differences,
            price=_price(score, self.truth),
            verdict=verdict,
        )

    def _tau(self, score: Judgeable, part: Slice) -> tuple[float, Floats]:
        """Tau and its draws, computed once for the same candidates."""
        key = (score.name, part.name, part.members.tobytes())
        if key not in self._taus:
            self._taus[key] = statistic.tau(score.values, self.truth.values, part, self._counts)
        return self._taus[key]

    def _agreement(self, score: Judgeable, part: Slice) -> Agreement:
        """A score on a slice."""
        counted = Agreement(len(part.members), part.pairs)
        if not _enough(part):
            return counted
        tau, draws = self._tau(score, part)
        ends = statistic.interval(draws)
        if math.isnan(tau) or ends is None:
            return counted
        key = (part.name, part.members.tobytes())
        if key not in self._pools:
            self._pools[key] = statistic.pools(part, self.seed)
        pooled = statistic.pooled(score.values, self.truth.values, self._pools[key])
        found: dict[str, float | None] = {}
        if part.sizes is None:
            mine, true = score.values[part.members], self.truth.values[part.members]
            first, tenth = (statistic.choice(mine, true, k) for k in (FIRST, math.ceil(len(true) / 10)))
            rho = statistic.spearman(mine, true)
            found = {"regret": first.regret, "recall": first.recall, "recall_tenth": tenth.recall, "spearman": rho}
        return Agreement(counted.candidates, counted.pairs, tau, *ends, **found, pool_regret=pooled.regret, pool_recall=pooled.recall)

    def _difference(self, score: Judgeable, trivial: Judgeable, whole: Slice) -> Difference | None:
        """A score less a trivial one; None where one of both has no tau."""
        part = whole.among(np.isfinite(score.values) & np.isfinite(trivial.values))
        if not _enough(part):
            return None
        (one, draws), (two, others) = (self._tau(each, part) for each in (score, trivial))
        ends = statistic.interval(draws - others)
        if math.isnan(one - two) or ends is None:
            return None
        known = self._partial(score, trivial, part) if whole.name == "all" else ()
        return Difference(trivial.name, whole.name, len(part.members), one - two, *ends, *known)

    def _partial(self, score: Judgeable, trivial: Judgeable, part: Slice) -> tuple[float, ...]:
        """Partial tau and its interval; nothing where the two are one order."""
        taus = self._tau(score, part), self._tau(trivial, part), statistic.tau(score.values, trivial.values, part, self._counts)
        value = float(statistic.partial(*(np.asarray(tau) for tau, _ in taus)))
        ends = statistic.interval(statistic.partial(*(draws for _, draws in taus)))
        return () if math.isnan(value) or ends is None else (value, *ends)


def _verdict(score: Judgeable, everyone: Agreement, differences: Sequence[Difference], words: Mapping[str, str]) -> str:
    """What the intervals of the differences say, over all candidates."""
    if everyone.tau is None:
        if everyone.candidates < FEWEST:
            return f"not judged: fewer than {FEWEST} candidates have a number"
        known = score.values[np.isfinite(score.values)]
        whose = "its numbers" if np.all(known == known[0]) else "the truths of the candidates that have a number"
        return f"not judged: all {whose} are the same"
    if score.trivial:
        return "trivial"
    over_all = [d for d in differences if d.slice == "all"]
    if not over_all:
        return "nothing trivial to compare with"
    unbeaten = [words[d.to] for d in over_all if not d.better]
    many = len(over_all) > 2
    if unbeaten:
        return f"no better than {'any trivial score' if many and len(unbeaten) == len(over_all) else ' or '.join(unbeaten)}"
    return f"better than {'every trivial score' if many else ' and '.join(words[d.to] for d in over_all)}"


def _price(score: Judgeable, truth: Truth) -> Price | None:
    """What the score took, over the candidates that have it; shares over those whose truth's cost is known."""
    if score.work is None:
        return None
    known = np.isfinite(score.values)
    if not known.any():
        return None
    passes = np.array([sum(each.passes for each in work.values()) for work in score.work], dtype=np.float64)
    flops = np.array([sum(math.nan if each.flops is None else each.flops for each in work.values()) for work in score.work])

    def share(mine: Floats, whole: Floats) -> float | None:
        both = known & np.isfinite(whole) & (whole > 0)
        return float(mine[both].sum() / whole[both].sum()) if both.any() else None

    if np.isnan(flops[known]).any():
        return Price(float(passes[known].mean()), share(passes, truth.cost), None, None)
    return Price(float(passes[known].mean()), share(passes, truth.cost), float(flops[known].mean()), share(flops, truth.flops))
