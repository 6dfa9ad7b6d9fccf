"""Numbers and JSON values as texts."""

from __future__ import annotations

import hashlib
import json
import math
from fractions import Fraction
from typing import Any

JSON = Any


def canonical(value: JSON) -> str:
    """The one JSON text of a value: sorted keys, no spaces, no NaN.

    >>> canonical({"b": 1, "a": (1, 2)})
    '{"a":[1,2],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def digest(value: JSON) -> str:
    """The content key of a JSON value: 40 hexadecimal digits of the SHA-256 of its canonical text.

    Equal numbers have equal keys, whole floats and integers too.

    >>> digest({"eps": 1}) == digest({"eps": 1.0})
    True
    """
    plain = json.loads(canonical(value), parse_float=_number)
    return hashlib.sha256(canonical(plain).encode()).hexdigest()[:40]


def _number(text: str) -> int | float:
    """A JSON number, as an integer where it is whole."""
    value = float(text)
    return int(value) if value.is_integer() else value


def counted(n: int, noun: str) -> str:
    """How many there are, in words.

    >>> counted(1, "network"), counted(0, "network")
    ('1 network', '0 networks')
    """
    return f"{n} {noun}{'s' * (n != 1)}"


def number_text(number: float) -> str:
    """A number as a user would type it; multiples of 1/255 as fractions.

    >>> number_text(8 / 255), number_text(0.3), number_text(2.0), number_text(float("inf"))
    ('8/255', '0.3', '2', 'inf')
    """
    if abs(number) < 100 and len(repr(number)) > 8:
        quarters = round(number * 255 * 4)
        if quarters and float(Fraction(quarters, 4 * 255)) == number:
            return f"{quarters / 4:.8g}/255"
    # A plus sign joins the values of a tuple.
    return (f"{number:g}" if float(f"{number:g}") == number else repr(number)).replace("e+", "e")


def number(text: str) -> float:
    """A number as a user types it: decimal, or a fraction, exactly parsed before it is rounded once.

    Raises:
        ValueError: It is neither, or it is not finite.

    >>> number("8/255") == 8 / 255, number("1e-3")
    (True, 0.001)
    """
    top, slash, bottom = text.partition("/")
    value = float(Fraction(top) / Fraction(bottom)) if slash and "/" not in bottom and Fraction(bottom) else float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is not finite")
    return value


def norm_order(text: str) -> float:
    """The order p of a norm's name.

    Raises:
        ValueError: It is no norm, or p < 1.

    >>> norm_order("linf"), norm_order("l2"), norm_order("1.5")
    (inf, 2.0, 1.5)
    """
    name = text.lower().removeprefix("l")
    p = math.inf if name in ("inf", "infinity", "∞") else number(name)
    if p < 1:
        raise ValueError(f"p = {p:g} gives no norm")
    return p
