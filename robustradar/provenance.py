"""Where a result comes from: versions, device, state of the code, time."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from types import ModuleType
from typing import Any

import robustradar
from robustradar.host import Plugin, source_digest

# What decides numbers: changing it changes every key. A plugin's own files enter the keys of its own work beside it.
ENGINE = ("training", "numerics", "judge", "analysis", "adapter", "guard", "contract", "execute", "desk", "yielded", "trust")


def engine(package: ModuleType = robustradar) -> str:
    """Identity of the code that trains and measures: version and digest of its source, and PyTorch's version."""
    return f"robustradar {robustradar.__version__} {source_digest(package, *ENGINE)} torch {metadata.version('torch')}"


def provenance(plugins: Sequence[Plugin], device: str, command: str, seeds: Sequence[int]) -> dict[str, Any]:
    """All that is needed to repeat a run, besides the study itself."""
    packages = ("torch", "torchvision", "torchattacks", "timm", "numpy")
    return {
        "command": command,
        "versions": {"robustradar": robustradar.__version__, **{name: metadata.version(name) for name in packages}},
        "plugins": {plugin.name: plugin.origin for plugin in plugins if not plugin.error},
        "broken_plugins": {plugin.name: plugin.error for plugin in plugins if plugin.error},
        "engine": engine(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": device,
        "seeds": list(seeds),
        "git": _git(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _git() -> dict[str, Any] | None:
    """Commit and cleanness of the working directory's repository; None outside one."""
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True).stdout.strip()
        changed = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, timeout=5, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "clean": not changed.strip()}
