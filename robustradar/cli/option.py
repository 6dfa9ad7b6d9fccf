"""The options that commands share, and what they come to."""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robustradar.cli import completion
from robustradar.filing import RESULTS

if TYPE_CHECKING:
    from robustradar.registry import Request


class Device(StrEnum):
    """Where to compute."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"


Study = Annotated[
    str | None,
    typer.Argument(metavar="[STUDY]", help="A named study of the registry; options override it.", autocompletion=completion.studies),
]
Arch = Annotated[
    list[str] | None,
    typer.Option(
        "--arch",
        metavar="REF",
        help="Candidate, e.g. papers/mlp:width=32, or papers/vgg*. Repeat it.",
        autocompletion=completion.references("architecture"),
    ),
]
Data = Annotated[
    str | None,
    typer.Option("--data", metavar="REF", help="Data set, e.g. digits or npz:path=FILE.", autocompletion=completion.references("dataset")),
]
Norm = Annotated[str | None, typer.Option("--norm", metavar="P", help="linf, l2, l1 or an order p >= 1.")]
Eps = Annotated[str | None, typer.Option("--eps", metavar="EPS", help="Attack strength in the data's units, e.g. 8/255.")]
Attack = Annotated[
    str | None,
    typer.Option("--attack", metavar="REF", help="Attack, e.g. native/pgd:steps=20.", autocompletion=completion.references("attack")),
]
Metric = Annotated[
    list[str] | None,
    typer.Option(
        "--metric", metavar="REF", help="Metric, e.g. baselines/clean-accuracy. Repeat it.", autocompletion=completion.references("metric")
    ),
]
Weights = Annotated[
    list[str] | None, typer.Option("--weights", metavar="REF=FILE", help="Score this candidate with given weights, untrained. Repeat it.")
]
Recipe = Annotated[
    str | None,
    typer.Option("--recipe", metavar="REF", help="Training recipe, e.g. quick:epochs=5.", autocompletion=completion.references("recipe")),
]
Ranker = Annotated[
    str | None,
    typer.Option(
        "--ranker", metavar="REF", help="Ranker, e.g. rank-mean:columns=clean_accuracy.", autocompletion=completion.references("ranker")
    ),
]
Seeds = Annotated[int | None, typer.Option("--seeds", metavar="N", help="Number of seeds to repeat everything with.")]
Where = Annotated[Device, typer.Option("--device", help="Where to compute.")]
Store = Annotated[Path, typer.Option("--store", metavar="DIR", help="Finished work is kept and found here.")]
Registry = Annotated[Path | None, typer.Option("--registry", metavar="FILE", help="Your own registry.yaml; its entries override ours.")]
Plugin = Annotated[list[str] | None, typer.Option("--plugin", metavar="FILE|MODULE", help="A plugin that is not installed. Repeat it.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON alone on standard output.")]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="DIR",
        help=f"Where to write the results [default: {RESULTS}/STUDY; where options say or change what is ranked, a folder for "
        "each such request, STUDY-DIGEST or rank-DIGEST].",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress.")]
Events = Annotated[Path | None, typer.Option("--events", metavar="FILE", help="Append what happens to it, one JSON object a line.")]


def repeated(given: list[str] | None) -> tuple[str, ...] | None:
    """An option that may be repeated; None where it was not given."""
    return tuple(given) if given else None


def folder(name: str, flags: Request, *others: object) -> Path:
    """Where the results of just this request go, so that none overwrites another's.

    Args:
        name: How it begins.
        flags: What was asked.
        others: What else says what was asked, as JSON takes it.
    """
    asked = [[key, value] for key, value in vars(flags).items() if value is not None]
    return RESULTS / f"{name}-{hashlib.sha256(json.dumps([asked, *others]).encode()).hexdigest()[:8]}"


def typed() -> str:
    """The command as it was typed, for provenance."""
    return shlex.join(["robustradar", *sys.argv[1:]])


def listeners(events: Path | None) -> dict[str, object]:
    """Who hears of a run, by the name that a warning gives them: the event log, if there is to be one.

    Raises:
        UsageError: The log cannot be written.
    """
    from robustradar.events import EventLog

    return {} if events is None else {f"--events {events}": EventLog(events)}
