"""A result as it is read back from its document, for reporters that take a `Result`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from robustradar.values import (
    JSON,
    Cost,
    FitRecord,
    FitUse,
    MeasurementUse,
    Ranking,
    RankingRow,
    Ref,
    Result,
    Score,
    Study,
    Task,
    Threat,
    Weights,
    norm_order,
)


def result(document: JSON) -> Result:
    """The result whose JSON this is: `Result.json` of it is the same document.

    What the document does not tell is empty: per-sample values, where given weights lay, and of references what their labels leave out.
    A failure's culprit stays at the head of its reason, and a regression has one output.

    Args:
        document: Of schema ``robustradar/1``, and valid by it.
    """
    ranking = Ranking(
        tuple(RankingRow(**row) for row in document["ranking"]),
        tuple(document["ranked_by"]),
        tuple((row["candidate"], row["reason"]) for row in document["unranked"]),
        tuple(document.get("ranking_notes", ())),
        document.get("ranking_details", {}),
        document.get("ranking_score", ""),
    )
    return Result(
        study=_study(document["study"]),
        scores=tuple(Score.of(row) for row in document["scores"]),
        ranking=ranking,
        fits=tuple(_fit(fit) for fit in document["fits"]),
        provenance=document["provenance"],
        measurements=tuple(_measurement(use) for use in document["measurements"]),
        evidence=document.get("evidence", {}),
    )


def _study(found: Mapping[str, Any]) -> Study:
    """What was asked."""
    data, threat, recipe = found["data"], found["threat"], found["recipe"]
    task = Task(
        data=_ref(data["id"]),
        fingerprint=data["fingerprint"],
        shape=tuple(data["shape"]),
        outputs=data["classes"] or 1,
        classes=data["classes"],
        bounds=_bounds(data["bounds"]),
        sizes=data["sizes"],
    )
    return Study(
        name=found["name"],
        candidates=tuple(map(_ref, found["candidates"])),
        task=task,
        threat=Threat(norm_order(threat["norm"]), threat["eps"], _bounds(threat["bounds"])),
        attack=_ref(found["attack"]),
        recipe=_ref(recipe["id"], recipe["parameters"]),
        metrics=tuple(map(_ref, found["metrics"])),
        ranker=_ref(found["ranker"]),
        reporters=(),
        seeds=tuple(found["seeds"]),
        weights={candidate: Weights(digest, "") for candidate, digest in found["weights"].items()},
    )


def _ref(label: str, parameters: Mapping[str, Any] | None = None) -> Ref:
    """A reference by its label."""
    return Ref(label.partition(":")[0], tuple((parameters or {}).items()), "", label)


def _bounds(found: list[float] | None) -> tuple[float, float] | None:
    return None if found is None else (found[0], found[1])


def _fit(found: Mapping[str, Any]) -> FitUse:
    """A trained network."""
    own = (found["key"], found["spec"], tuple(found["epochs"]), found["selected_epoch"], _cost(found), tuple(found["flags"]))
    return FitUse(FitRecord(*own), found["cached"], found["weights"])


def _measurement(found: Mapping[str, Any]) -> MeasurementUse:
    """A measurement that came to an end."""
    own = {name: found[name] for name in ("candidate", "metric", "seed", "cached", "key")}
    return MeasurementUse(**own, cost=_cost(found), fits=tuple(found["fits"]))


def _cost(found: Mapping[str, Any]) -> Cost:
    """What stands beside its seconds."""
    return Cost(**found["cost"], seconds=found["seconds"])
