"""The machine: versions, devices, memory, optional libraries and the store. What cannot be told is None, never a guess."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

from tabulate import tabulate

_CGROUP = Path("/sys/fs/cgroup/memory.max")
_REQUIREMENT = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)")
_EXTRA = re.compile(r"""extra\s*==\s*['"]([^'"]+)['"]""")
# What is there for working on RobustRadar, or on a plugin, is nothing that a user lacks.
_FOR_AUTHORS = frozenset({"dev", "doc", "docs", "lint", "test", "tests", "testing"})


def environment(store: Path) -> dict[str, Any]:
    """What a run would work with.

    Args:
        store: Folder of finished work; nothing is written there.
    """
    return {
        "python": f"{platform.python_version()} ({sys.executable})",
        "platform": platform.platform(),
        "versions": {name: installed(name) for name in ["robustradar", *_required()]},
        "extras": {extra: not lacking for extra, lacking in extras("robustradar").items()},
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory": _memory(),
        **_devices(),
        "store": _store(store),
    }


def environment_text(found: dict[str, Any]) -> str:
    """The same for a terminal."""
    store, lacking = found["store"], [extra for extra, there in found["extras"].items() if not there]
    place = "" if store["there"] else ", not there yet"
    facts = {
        "python": found["python"],
        "platform": found["platform"],
        "versions": ", ".join(f"{name} {version or 'not installed'}" for name, version in found["versions"].items()),
        "extras": ", ".join(extra for extra, there in found["extras"].items() if there) or "none",
        "not installed": ", ".join(f"{extra} (pip install 'robustradar[{extra}]')" for extra in lacking),
        "processors": f"{found['cpus']}; torch uses {found['threads']} threads",
        "memory": f"{gibibytes(found['memory'])}",
        "devices": "; ".join(_device_text(device) for device in found["devices"]),
        "store": f"{store['path']}{place}, {'writable' if store['writable'] else 'NOT WRITABLE'}, {gibibytes(store['free'])} free",
    }
    remarks = "".join(f"\n{remark}" for remark in found["remarks"])
    return tabulate([(name, fact) for name, fact in facts.items() if fact], tablefmt="plain", disable_numparse=True) + remarks


def gibibytes(size: int | None) -> str:
    """A size in bytes as a user reads it.

    >>> gibibytes(3 * 2**29), gibibytes(None)
    ('1.5 GiB', 'not known')
    """
    return "not known" if size is None else f"{size / 2**30:.1f} GiB"


def installed(distribution: str) -> str | None:
    """Its version; None where it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def extras(distribution: str) -> dict[str, tuple[str, ...]]:
    """The optional parts that a distribution offers to users, each with the distributions that it lacks."""
    try:
        requirements = metadata.requires(distribution) or []
    except metadata.PackageNotFoundError:
        return {}
    found: dict[str, tuple[str, ...]] = {}
    for text in requirements:
        name, extra = _REQUIREMENT.match(text), _EXTRA.search(text)
        if name and extra and extra[1] not in _FOR_AUTHORS:
            found[extra[1]] = (*found.get(extra[1], ()), *(() if installed(name[1]) else (name[1],)))
    return found


def _required() -> list[str]:
    """The distributions without which there is no RobustRadar."""
    texts = [text for text in metadata.requires("robustradar") or [] if not _EXTRA.search(text)]
    return [name[1] for text in texts if (name := _REQUIREMENT.match(text))]


def _memory() -> int | None:
    """Bytes of main memory, or of what a container may use of it."""
    try:
        whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
    try:
        return min(whole, int(_CGROUP.read_text()))
    except (OSError, ValueError):  # no container, or one without a limit: "max"
        return whole


def _devices() -> dict[str, Any]:
    """What torch can compute on, and what it says when it is asked."""
    import torch

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    devices: list[dict[str, Any]] = [{"device": "cpu", "name": platform.processor() or platform.machine(), "memory": None, "free": None}]
    for index in range(count):
        free, total = torch.cuda.mem_get_info(index)
        devices.append({"device": f"cuda:{index}", "name": torch.cuda.get_device_name(index), "memory": total, "free": free})
    if torch.backends.mps.is_available():
        devices.append({"device": "mps", "name": "Apple", "memory": None, "free": None})
    remarks = [str(warning.message).splitlines()[0] for warning in caught]
    if not count and torch.version.cuda:
        remarks.append(f"torch is built for CUDA {torch.version.cuda} and finds no CUDA device: runs are on the CPU.")
    return {"devices": devices, "threads": torch.get_num_threads(), "remarks": remarks}


def _device_text(device: dict[str, Any]) -> str:
    """One device."""
    size = f", {gibibytes(device['memory'])}, {gibibytes(device['free'])} free" if device["memory"] else ""
    return f"{device['device']} ({device['name']}{size})"


def _store(store: Path) -> dict[str, Any]:
    """Whether finished work can be kept there, and how much."""
    place = next(folder for folder in (store.absolute(), *store.absolute().parents) if folder.exists())
    writable = place.is_dir() and os.access(place, os.W_OK)
    return {"path": str(store), "there": store.exists(), "writable": writable, "free": shutil.disk_usage(place).free}
