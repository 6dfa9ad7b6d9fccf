"""`robustradar doctor`: the machine and a study's candidates, before hours are spent."""

from __future__ import annotations

import json
from dataclasses import asdict

import typer

from robustradar.cli import exit_code, option
from robustradar.filing import STORE

EXAMPLES = f"""Examples:

  robustradar doctor

  robustradar doctor --arch papers/cnn --arch timm/resnet18 --data torchvision/CIFAR10 --metric tradeoff/influence --json

{exit_code.told(0, 2, 3, 4, own={0: "fine", 3: "something that the study needs is not supported"})}
"""


def doctor(  # noqa: PLR0913, PLR0917 (one parameter an option)
    study: option.Study = None,
    arch: option.Arch = None,
    data: option.Data = None,
    norm: option.Norm = None,
    eps: option.Eps = None,
    attack: option.Attack = None,
    metric: option.Metric = None,
    recipe: option.Recipe = None,
    seeds: option.Seeds = None,
    device: option.Where = option.Device.AUTO,
    store: option.Store = STORE,
    registry: option.Registry = None,
    plugin: option.Plugin = None,
    as_json: option.Json = False,
) -> None:
    """Show what a run would work with; given candidates or a study, try each candidate on one batch. Nothing is trained.

    Tried are building, first and second derivatives and a few steps of training; told are milliseconds a batch of the recipe's size, the
    highest memory (on CUDA, where it is known) and about how long the study takes.
    """  # noqa: DOC501 (it is the command's help)
    from robustradar.doctor import candidate, environment
    from robustradar.registry import Request
    from robustradar.report import terminal

    machine = environment.environment(store)
    if not as_json:
        print(environment.environment_text(machine))
    flags = Request(option.repeated(arch), data, norm, eps, attack, recipe, option.repeated(metric), seeds=seeds)
    found: tuple[candidate.Examination, ...] = ()
    ahead = None
    if study is not None or flags != Request():
        from robustradar import screening

        prepared = screening.prepare(study, flags, registry_file=registry, plugins=plugin or ())
        found, ahead = candidate.examine(prepared, store=store, device=device.value)
        if not as_json:
            print(f"\n{candidate.text(found, ahead, terminal.width())}")
    if as_json:
        told = {"environment": machine, "candidates": [asdict(one) for one in found], "forecast": ahead.json() if ahead else None}
        print(json.dumps(told, indent=1))
    if not machine["store"]["writable"] or any(one.obstacles for one in found):
        raise typer.Exit(3)
