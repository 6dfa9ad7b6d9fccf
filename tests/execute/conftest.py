"""A study of tiny networks on four features, and what running it takes."""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from robustradar import Data, Split, Study, Task, Threat, host
from robustradar import data as datum
from robustradar import plan as planning
from robustradar.catalog import Catalog
from robustradar.execute import Executed, Execution
from robustradar.plan import Plan
from robustradar.progress import Silent
from robustradar.store import Store
from robustradar.training.device import DeviceData
from robustradar.values import Outcome, Ref


def blobs(n: int = 64, classes: int = 3, *, final: bool = False, seed: int = 0) -> Data:
    """Overlapping classes in four features inside [0, 1]."""
    rng = np.random.default_rng(seed)
    centres = np.array([[0.2, 0.2, 0.8, 0.5], [0.8, 0.2, 0.2, 0.5], [0.5, 0.8, 0.5, 0.2]])[:classes]

    def split(size: int) -> Split:
        y = np.arange(size) % classes
        return Split((centres[y] + 0.25 * rng.standard_normal((size, 4))).clip(0, 1).astype(np.float32), y)

    return Data(split(n), split(32), split(16) if final else None, classes, (0.0, 1.0))


@dataclass
class Lab:
    """Everything to run a study with; each run opens the store anew."""

    catalog: Catalog
    data: Data
    task: Task
    root: Path

    def ref(self, kind: str, text: str) -> Ref:
        return self.catalog.resolve(kind, text, "test")

    def study(self, candidates: tuple[str, ...], metrics: tuple[str, ...], **changes: Any) -> Study:
        base = Study(
            name="test",
            candidates=tuple(self.ref("architecture", text) for text in candidates),
            task=self.task,
            threat=Threat(math.inf, 0.05, self.task.bounds),
            attack=self.ref("attack", "menagerie/sign"),
            recipe=self.ref("recipe", "menagerie/brief"),
            metrics=tuple(self.ref("metric", text) for text in metrics),
            ranker=self.ref("ranker", "menagerie/by-name"),
            reporters=(),
            seeds=(0,),
        )
        return replace(base, **changes)

    def plan(self, candidates: tuple[str, ...], metrics: tuple[str, ...], **changes: Any) -> Plan:
        return planning.make(self.study(candidates, metrics, **changes), self.catalog, "engine 1")

    def execution(self) -> Execution:
        data = DeviceData.of(self.data, self.task, torch.device("cpu"), size=16)
        return Execution(self.catalog, data, Store(self.root), Silent())

    def run(self, candidates: tuple[str, ...], metrics: tuple[str, ...], **changes: Any) -> tuple[dict[str, Outcome], Executed]:
        """Outcomes by ``candidate column seed``, names without the plugin's, and what was executed."""
        plan = self.plan(candidates, metrics, **changes)
        executed = self.execution().run(plan)
        named = {
            f"{m.candidate.label.removeprefix('menagerie/')} {column}" + (f" {m.seed}" if len(plan.study.seeds) > 1 else ""): outcome
            for m in plan.measurements
            for column, outcome in executed.outcomes[m.key].items()
        }
        return named, executed


@pytest.fixture(scope="session")
def menagerie() -> Catalog:
    (plugin,) = host.load(given=[str(Path(__file__).with_name("menagerie.py"))], entry_points=[])
    assert plugin.error is None
    return Catalog((plugin,), {})


@pytest.fixture
def make_lab(menagerie: Catalog, tmp_path: Path) -> Callable[[Data], Lab]:
    def make(data: Data) -> Lab:
        datum.check(data, "test")
        return Lab(menagerie, data, datum.task(data, Ref("test/blobs", (), "test", "test/blobs")), tmp_path / "store")

    return make


@pytest.fixture
def lab(make_lab: Callable[[Data], Lab]) -> Lab:
    return make_lab(blobs())


@pytest.fixture
def chorus(lab: Lab) -> Any:
    """The module of a second plugin, which the lab then knows beside the menagerie; what it noted before is forgotten."""
    (plugin,) = host.load(given=[str(Path(__file__).with_name("chorus.py"))], entry_points=[])
    assert plugin.error is None
    lab.catalog = Catalog((*lab.catalog.plugins, plugin), {})
    _, declaration = lab.catalog.declared("metric")["chorus/first"]
    module = sys.modules[type(declaration).__module__]
    module.forget()
    return module
