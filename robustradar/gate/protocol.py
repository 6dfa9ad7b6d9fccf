"""Whether two runs can be compared: the same protocol, and what else around them differs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from robustradar.errors import RobustRadarError
from robustradar.values import JSON

_PROTOCOL = ("threat", "attack", "recipe", "seeds")


class UnlikeError(RobustRadarError):
    """What is to be compared cannot be: cells failed, or two runs followed different protocols (exit code 3)."""

    exit_code = 3


def compare_protocols(before: JSON, now: JSON) -> None:
    """Refuses to compare studies of different protocols. More candidates or metrics than before do no harm.

    Raises:
        UnlikeError: With every field that differs.
    """
    then, there = (_leaves({name: study[name] for name in _PROTOCOL} | {"data": study["data"]["fingerprint"]}) for study in (before, now))
    found = [
        f"{field} is {json.dumps(there.get(field))} and was {json.dumps(then.get(field))}"
        for field in sorted(then | there)
        if then.get(field) != there.get(field)
    ]
    for field in ("candidates", "metrics"):
        found += [f"{field} lack {name}" for name in before[field] if name not in now[field]]
    for name in before["candidates"]:
        if name in now["candidates"] and (name in before["weights"]) != (name in now["weights"]):
            then_, now_ = ("given" if name in study["weights"] else "trained" for study in (before, now))
            found.append(f"weights of {name} are {now_} and were {then_}")
    if found:
        raise UnlikeError(
            f"check: got another protocol than the baseline's: {'; '.join(found)}; expected the same. "
            "Compare runs of one protocol, or save a new baseline."
        )


def surroundings(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, ...]:
    """Where versions, Python, device or the training code differ, which may explain what else does."""
    then, there = (_leaves({name: origin.get(name) for name in ("versions", "python", "device", "engine")}) for origin in (before, now))
    both = [field for field in sorted(then | there) if then.get(field) != there.get(field)]
    return tuple(f"{field.removeprefix('versions.')}: {then.get(field)} before, {there.get(field)} now" for field in both)


def _leaves(value: Any, prefix: str = "") -> dict[str, Any]:
    """A nested mapping's values by their dotted names, tuples as the lists that they are in a file."""
    if not isinstance(value, dict):
        return {prefix: list(value) if isinstance(value, tuple) else value}
    return {name: leaf for key, inner in value.items() for name, leaf in _leaves(inner, f"{prefix}.{key}".strip(".")).items()}
