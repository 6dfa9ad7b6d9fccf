"""Wrong usage that Typer finds, in the form that all messages have: where, what was got, what was expected, what to do."""

from __future__ import annotations

import re
from typing import Any

from robustradar.errors import unknown

# How Typer begins, and what is told instead: of what is named, and of the command.
_FORMS = (
    (r"Missing (?:option|argument) '(.+?)'", "{named}: got none, expected one. {see}"),
    (r"Option '(.+?)' requires an argument", "{named}: got no value, expected one. {see}"),
    (r"Option '(.+?)' does not take a value", "{named}: got a value, expected none. {see}"),
    (r"Got unexpected extra arguments?(?:\(s\))? \((.+)\)$", "ARGUMENTS: got {given!r} beyond those of {command}, expected no more. {see}"),
)


def told(error: Any) -> str:
    """What Typer says, in the house's words; what is no error but a command group's help stays as it is."""
    text, context = error.format_message(), error.ctx
    command = context.command_path if context else "robustradar"
    see = f"See {command} --help."
    if found := re.match(r"Invalid value for (.+?): (.+)", text, re.DOTALL):
        return _value(_place(found[1]), found[2], error.__cause__, see)
    if found := re.match(r"No such option: (\S+)", text):
        options = [name for parameter in context.command.params for name in parameter.opts if name.startswith("--")]
        return unknown("OPTION", found[1], [*options, "--help"], f"{command} --help")
    if found := re.match(r"No such command '(.+?)'", text):
        return unknown("COMMAND", found[1], context.command.commands, f"{command} --help")
    for form, words in _FORMS:
        if found := re.match(form, text):
            return words.format(named=_place(found[1]), given=found[1], command=command, see=see)
    return str(text)


def _place(hint: str) -> str:
    """An option as it is typed, or an argument as the help shows it."""
    name = hint.strip("'")
    return name if name.startswith("-") else name.upper()


def _value(where: str, why: str, cause: Any, see: str) -> str:
    """A value that is not accepted."""
    if found := re.search(r"'(.*)' is not one of (.+)", why):
        return unknown(where, found[1], re.findall(r"'(.+?)'", found[2]))
    wanted = why.removeprefix("Input should be ").removeprefix("Value error, ").rstrip(".")
    errors = cause.errors() if hasattr(cause, "errors") else []  # of pydantic, which reads values for Typer
    return f"{where}: got {errors[0]['input']!r}, expected {wanted}. {see}" if errors else f"{where}: {wanted}. {see}"
