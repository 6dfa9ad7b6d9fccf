"""What a reader may copy from the pages: fenced and indented blocks, the commands in them, and what is said of those that are not run."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from robustradar.cli import app

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md")), ROOT / "examples/ci/README.md"]

# In the source of a page, on the line above a block.
WITHHELD = re.compile(r"^\s*<!-- not run: (?P<reason>.{10,}?) -->$")
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[\w{}-]*)(?: title=(?P<title>\S+))?$")


@dataclass(frozen=True)
class Block:
    """A piece of a page that is set as code.

    Attributes:
        page: The file.
        line: Its first line's number.
        language: As the fence names it; empty for an indented block.
        title: The file that a reader is to write it to.
        text: Without its indentation.
        withheld: Why no test runs it, or None.
    """

    page: Path
    line: int
    language: str
    title: str | None
    text: str
    withheld: str | None

    @property
    def commands(self) -> list[str]:
        """Lines that begin with a command of ours, continued lines joined; ``$`` marks those that have their output below."""
        joined = self.text.replace("\\\n", " ").splitlines()
        told = [re.sub(r"\s+#.*$", "", line.removeprefix("$ ")) for line in joined]
        return [line for line in told if line.startswith("robustradar ")]


def shown(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[Block]:
    """A page's blocks in order."""
    lines, found, at, reason = page.read_text(encoding="utf-8").splitlines(), [], 0, None
    while at < len(lines):
        if mark := WITHHELD.match(lines[at]):
            reason = mark["reason"]
        elif fence := FENCE.match(lines[at]):
            end = next(i for i in range(at + 1, len(lines)) if lines[i].strip() == "```")
            text = "".join(f"{line.removeprefix(fence['indent'])}\n" for line in lines[at + 1 : end])
            found.append(Block(page, at + 2, fence["language"], fence["title"], text, reason))
            at, reason = end, None
        elif lines[at].startswith("    ") and not lines[at - 1].strip():
            end = next((i for i in range(at, len(lines)) if lines[i].strip() and not lines[i].startswith("    ")), len(lines))
            text = "".join(f"{line[4:]}\n" for line in lines[at:end])
            found.append(Block(page, at + 1, "", None, text, reason))
            at, reason = end - 1, None
        elif lines[at].strip():
            assert reason is None, f"{shown(page)}:{at}: 'not run' stands above something that is no block"
        at += 1
    return found


BLOCKS = [block for page in PAGES for block in blocks(page)]


def parsed(command: str) -> tuple[list[str], dict[str, Any]]:
    """A command line's path among the commands, and its options as the command would get them; it is not run.

    Raises whatever the command line's library raises for an option that is not there or a value that it does not take.
    """
    words, path, inner = shlex.split(command)[1:], [], typer.main.get_command(app)
    while words and words[0] in getattr(inner, "commands", {}):
        inner = inner.commands[words[0]]
        path.append(words.pop(0))
    if set(words) & {"--help", "--install-completion", "--show-completion"}:
        return path, {}
    return path, inner.make_context(" ".join(path), words).params
