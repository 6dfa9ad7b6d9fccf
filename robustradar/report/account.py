"""What a run cost, and what it takes to repeat it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from robustradar.report.cell import short
from robustradar.report.document import Document, objective
from robustradar.report.grid import Cell, Grid, Head
from robustradar.values import counted, number_text

_NAMED = tuple(Head(head, words=head != "seed") for head in ("candidate", "objective", "seed", "state"))
_COSTS = tuple(map(Head, ("samples forward", "samples backward", "FLOPs", "seconds", "peak memory")))


def cost(document: Document) -> Grid:
    """What each candidate took."""
    owner = document.owners
    heads = ("candidate", "networks", "epochs", "training (s)", "measuring (s)", "samples forward", "samples backward", "FLOPs")
    trained: dict[str, list[Any]] = {}
    measured: dict[str, list[Any]] = {}
    for fit in document.json["fits"]:
        trained.setdefault(owner.get(fit["key"], ""), []).append(fit)
    for use in document.json["measurements"]:
        measured.setdefault(use["candidate"], []).append(use)
    rows = []
    for name in [*document.order, ""]:
        fits, uses = trained.get(name, []), measured.get(name, [])
        if fits or uses:
            told = name or "of measurements that failed"
            counts = [len(fits), sum(len(fit["epochs"]) for fit in fits), *_seconds(fits, uses), *_work(fits, uses)]
            rows.append((Cell(told), *(Cell(short(value), value) for value in counts)))
    return Grid("Cost of each candidate", tuple(Head(h, words=not i) for i, h in enumerate(heads)), tuple(rows))


def metrics(document: Document) -> Grid:
    """What each metric took, over all candidates and seeds."""
    made: dict[str, list[Any]] = {}
    for use in document.json["measurements"]:
        made.setdefault(use["metric"], []).append(use)
    rows = [
        (Cell(name), *(Cell(str(n), n) for n in (len(uses), sum(use["cached"] for use in uses))), *_costs(uses))
        for name, uses in made.items()
    ]
    return Grid("Cost of each metric", (Head("metric", words=True), Head("measurements"), Head("from the store"), *_COSTS), tuple(rows))


def trainings(document: Document, most: int = 0) -> Grid:
    """What each network took, those of most operations first.

    Args:
        document: The run.
        most: Rows at most; 0: all. The caption tells how many are left out.
    """
    fits = sorted(document.json["fits"], key=lambda fit: -fit["cost"]["flops"])
    shown = fits[:most] if most else fits
    rows = tuple((*_named(document, fit), *_costs([fit])) for fit in shown)
    more = f" ({len(fits) - len(shown)} more are in scores.json)" if len(fits) > len(shown) else ""
    return Grid(f"Cost of each training, most FLOPs first{more}", (*_NAMED, *_COSTS), rows)


def spent(document: Document) -> str:
    """All of it in a sentence."""
    fits, uses = document.json["fits"], document.json["measurements"]
    (train, measure), (forward, backward, flops) = _seconds(fits, uses), _work(fits, uses)
    peak = max((x["cost"]["memory"] for x in (*fits, *uses) if x["cost"]["memory"]), default=0)
    memory = f" The most memory in use on the accelerator was {short(peak)}B." if peak else ""
    return (
        f"{counted(len(fits), 'network')} {'was' if len(fits) == 1 else 'were'} trained in {_time(train)} "
        f"({sum(f['cached'] for f in fits)} of them taken from the store), and {counted(len(uses), 'measurement')} made in "
        f"{_time(measure)} ({sum(u['cached'] for u in uses)} from the store): {short(forward)} samples "
        f"forward, {short(backward)} backward, {short(flops)} floating-point operations. "
        f"What was taken from the store is counted with what it cost when it was made.{memory}"
    )


def facts(document: Document) -> list[tuple[str, str]]:
    """What was asked, and where it ran."""
    return [(name, text) for name, text in {**protocol(document), **_origin(document.json["provenance"])}.items() if text]


def keys(document: Document) -> Grid:
    """Every network with its key in the store."""
    rows = tuple((*_named(document, fit), *_epochs(fit), Cell(fit["key"])) for fit in document.json["fits"])
    return Grid("Trained networks", (*_NAMED, Head("epochs"), Head("kept epoch"), Head("key", words=True)), rows)


def protocol(document: Document) -> dict[str, str]:
    """What decides the numbers beside the candidates, by name: runs are alike where these are."""
    study, origin = document.json["study"], document.json["provenance"]
    data, threat = study["data"], study["threat"]
    box = f" in [{short(threat['bounds'][0])}, {short(threat['bounds'][1])}]" if threat["bounds"] else ""
    sizes = ", ".join(f"{size} {name}" for name, size in data["sizes"].items())
    return {
        "data": f"{data['id']} ({sizes} samples)",
        "data fingerprint": data["fingerprint"],
        "threat": f"{threat['norm']} {number_text(threat['eps'])}{box}",
        "attack": study["attack"],
        "recipe": study["recipe"]["id"],
        "metrics": ", ".join(study["metrics"]),
        "ranker": study["ranker"],
        "seeds": ", ".join(map(str, study["seeds"])),
        "engine": origin["engine"],
    }


def _origin(origin: Mapping[str, Any]) -> dict[str, str]:
    """Where a run came from."""
    git = origin["git"]
    return {
        "device": f"{origin['device']}, {origin['platform']}, Python {origin['python']}",
        "versions": ", ".join(f"{name} {version}" for name, version in origin["versions"].items()),
        "plugins": ", ".join(f"{name} ({source})" for name, source in origin["plugins"].items()),
        "git": f"{git['commit']}{'' if git['clean'] else ', with changes that are not committed'}" if git else "",
        "time": origin["time"],
    }


def _named(document: Document, fit: Mapping[str, Any]) -> tuple[Cell, ...]:
    """Which training it is, as `_NAMED` heads it."""
    spec = fit["spec"]
    at = f", {spec['threat']['norm']} {number_text(spec['threat']['eps'])}" if spec["threat"] else ""
    how = (document.owners.get(fit["key"], spec["architecture"]["id"]), f"{objective(spec['objective'])}{at}")
    return (*map(Cell, how), Cell(str(spec["seed"]), spec["seed"]), Cell("from the store" if fit["cached"] else "trained"))


def _costs(made: Sequence[Mapping[str, Any]]) -> tuple[Cell, ...]:
    """What all of these took together, as `_COSTS` heads it; the memory is the most of any."""
    peak = max((x["cost"]["memory"] for x in made if x["cost"]["memory"]), default=None)
    counts = (*_work(made, ()), sum(x["seconds"] for x in made))
    return (*(Cell(short(count), count) for count in counts), Cell("" if peak is None else f"{short(peak)}B", peak))


def _seconds(fits: Sequence[Mapping[str, Any]], uses: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    return sum(fit["seconds"] for fit in fits), sum(use["seconds"] for use in uses)


def _work(fits: Sequence[Mapping[str, Any]], uses: Sequence[Mapping[str, Any]]) -> list[int]:
    return [sum(x["cost"][name] for x in (*fits, *uses)) for name in ("forward", "backward", "flops")]


def _epochs(fit: Mapping[str, Any]) -> tuple[Cell, Cell]:
    epochs, kept = len(fit["epochs"]), fit["selected_epoch"]
    return Cell(str(epochs), epochs), Cell(str(kept), kept)


def _time(seconds: float) -> str:
    """A duration in the unit that fits.

    >>> _time(5), _time(600), _time(90000)
    ('5.0 s', '10.0 min', '25.0 h')
    """
    for size, unit in ((5400, 60), (90, 1)):
        if seconds >= size:
            return f"{seconds / (unit * 60):.1f} {'h' if unit == 60 else 'min'}"
    return f"{seconds:.1f} s"
