"""Documents made by hand, valid by the schema, with numbers that can be checked by eye. They have the data of every figure."""

from __future__ import annotations

import copy
from typing import Any

from robustradar.report.document import Document

NAMES = ("papers/mlp:width=32", "papers/cnn", "papers/linear")
KEY = "{:040x}"


def cell(candidate: str, metric: str, column: str, value: float | None, **other: Any) -> dict[str, Any]:
    """A row; without a value a failed one."""
    row = {"candidate": candidate, "metric": metric, "column": column, "state": "measured", "value": value, "low": None, "high": None}
    row |= {"unit": "1", "direction": "none", "flags": [], "reason": None, "details": {}}
    return row | ({} if value is not None else {"state": "failed", "reason": "training: diverged"}) | other


def point(xi: float, clean: float, adversarial: float) -> dict[str, Any]:
    """A point of a trade-off curve, its intervals a tenth wide."""
    found: dict[str, Any] = {"xi": xi, "dominated": xi == 0.5, "dominated_accuracy": False}
    for name, value in (("clean", clean), ("adversarial", adversarial)):
        found |= {f"{name}_loss": value, f"{name}_loss_low": value - 0.05, f"{name}_loss_high": value + 0.05}
        found |= {f"{name}_accuracy": 1 - value / 2, f"{name}_accuracy_low": 0.95 - value / 2, f"{name}_accuracy_high": 1.05 - value / 2}
    return found


def course(value: float) -> dict[str, Any]:
    """How a critical strength was found: two losses, and the threshold between them that gives this strength on their link."""
    own = {"points": [[0.0, 0.1], [2 * value, 0.5]], "fitted": [0.1, 0.5], "coefficients": [], "fit": "isotonic", "method": "fast"}
    return own | {"threshold": 0.3, "status": "measured", "bound": value / 2, "bound_low": 0.0, "bound_high": None}


def cells(name: str, place: int) -> list[dict[str, Any]]:
    """All of a candidate's cells; the third's accuracy failed."""
    accuracy = None if place == 2 else 0.9 - 0.05 * (place % 10)
    ends = {} if accuracy is None else {"low": accuracy - 0.04, "high": accuracy + 0.04, "flags": ["selected-on-evaluation"]}
    curve = [point(0, 0.2 + 0.1 * place, 1.6), point(0.5, 0.4, 1.2), point(1, 0.6 + 0.1 * place, 0.8)]
    curve = curve if place < 3 else []
    percent = {"unit": "fraction", "direction": "higher"}
    strength = {"unit": "strength", "direction": "higher", "low": 0.03, "high": None if place == 1 else 0.05}
    critical = 0.04 - 0.001 * (place % 20)
    density = {"values": [-0.2, 0.0, 1.0, 30.0], "weights": [0.1, 0.6, 0.2, 0.1]}
    loss = {"unit": "loss", "direction": "lower"}
    predicted = {"low": 0.2, "high": 0.4, "flags": ["damping-raised:0.3", "my-own"], "details": {"density": density}}
    return [
        cell(name, "baselines/clean-accuracy", "clean_accuracy", accuracy, **percent, **ends),
        cell(name, "tradeoff/toc", "toc_hypervolume", 0.5 + 0.01 * place, **percent, details={"curve": curve} if curve else {}),
        cell(name, "transition/eps-star", "eps_star", critical, **strength, details=course(critical)),
        cell(name, "transition/eps-star", "eps_star_bound", 0.02, unit="strength"),
        cell(name, "tradeoff/influence", "delta_influence", 0.3, **loss, **predicted),
        cell(name, "tradeoff/influence", "bound_low", -0.5, unit="loss"),
        cell(name, "tradeoff/influence", "bound_high", 12.0, unit="loss"),
        *(
            cell(name, "tradeoff/influence", f"lambda_{end}_{split}", value)
            for split in ("train", "eval")
            for end, value in (("min", -0.2), ("max", 30.0))
        ),
        cell(name, "tradeoff/delta", "delta_exact", 0.25, **loss),
        cell(name, "baselines/parameters", "parameters", 1000.0 - place),
    ]


def fit(number: int, xi: float) -> dict[str, Any]:
    """A trained network of three epochs, the second of which was kept."""
    names = [f"{split}_{loss}" for split in ("train", "evaluation") for loss in ("clean_loss", "adversarial_loss", "objective_loss")]
    names += [f"{split}_{kind}_accuracy" for split in ("train", "evaluation") for kind in ("clean", "adversarial")]
    epochs = [
        {"epoch": e, **dict.fromkeys(names), "train_objective_loss": 1.5 / e, "evaluation_objective_loss": 2.0 / e + 0.1 * number}
        for e in (1, 2, 3)
    ]
    reference = {"id": "papers/cnn", "parameters": {}, "source": "robustradar 0.1.0"}
    threat = {"norm": "linf", "eps": 8 / 255, "bounds": [0, 1]} if xi else None
    spec = {
        "architecture": reference,
        "data": {**reference, "id": "native/digits", "fingerprint": KEY.format(1)},
        "recipe": {**reference, "id": "native/quick", "parameters": {"epochs": 3}},
        "objective": {"form": "mixture", "xi": xi, "beta": 0},
        "threat": threat,
        "attack": reference if xi else None,
        "seed": 0,
        "engine": "robustradar 0.1.0",
        "start": None,
        "weights": None,
    }
    cost = {"forward": 2000, "backward": 1000, "flops": 10**9, "memory": None}
    found = {"key": KEY.format(number), "spec": spec, "cached": False, "seconds": 1.5, "epochs": epochs, "selected_epoch": 2}
    return found | {"weights": "/store/1", "cost": cost, "flags": []}


def document(names: tuple[str, ...] = NAMES, **changes: Any) -> Document:
    """A run of these candidates, ranked in this order but for the third, which failed."""
    placed = [name for place, name in enumerate(names) if place != 2]
    ranking = [
        {"rank": n, "rank_low": max(n - 1, 1), "rank_high": min(n + 1, len(placed)), "candidate": name, "score": float(n)}
        for n, name in enumerate(placed, 1)
    ]
    fits = [fit(2 * place + int(xi), xi) for place in range(min(len(names), 9)) for xi in (0.0, 1.0)]
    cost = {"forward": 100, "backward": 0, "flops": 10**6, "memory": None}
    use = {"metric": "baselines/clean-accuracy", "seed": 0, "cached": True, "seconds": 0.5, "cost": cost, "key": KEY.format(5)}
    uses = [
        {**use, "candidate": names[place], "fits": [KEY.format(2 * place), KEY.format(2 * place + 1)]}
        for place in range(min(len(names), 9))
    ]
    sizes = {"train": 100, "evaluation": 20, "final": 10}
    data = {"id": "native/digits", "fingerprint": KEY.format(1), "shape": [1, 8, 8], "classes": 10, "bounds": [0, 1], "sizes": sizes}
    scores = [row for place, name in enumerate(names) for row in cells(name, place)]
    made = {
        "schema": "robustradar/1",
        "study": {
            "name": "by hand",
            "candidates": list(names),
            "data": data,
            "threat": {"norm": "linf", "eps": 8 / 255, "bounds": [0, 1]},
            "attack": "native/pgd",
            "recipe": {"id": "native/quick", "parameters": {"epochs": 3}},
            "metrics": list(dict.fromkeys(row["metric"] for row in scores)),
            "ranker": "native/rank-mean",
            "seeds": [0],
            "weights": {},
        },
        "scores": scores,
        "ranking": ranking,
        "ranked_by": ["clean_accuracy"],
        "unranked": [{"candidate": name, "reason": "clean_accuracy failed: training: diverged"} for name in names[2:3]],
        "evidence": {"baselines/clean-accuracy": "τ .79 on others' networks.", "tradeoff/influence": "no use was found."},
        "fits": fits,
        "measurements": uses,
        "provenance": {
            "command": "robustradar rank 'by hand'",
            "versions": {"robustradar": "0.1.0", "torch": "2.9.0"},
            "plugins": {"native": "robustradar 0.1.0"},
            "broken_plugins": {},
            "engine": "robustradar 0.1.0",
            "python": "3.11.7",
            "platform": "Linux",
            "device": "cpu",
            "seeds": [0],
            "git": None,
            "time": "2026-01-01T00:00:00+00:00",
        },
    }
    return Document(copy.deepcopy(made | changes), "by-hand")
