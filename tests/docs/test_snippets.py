"""Every block of the pages that a reader may copy runs; of those that are withheld, with a reason, the commands still parse."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from pygments.lexers import get_lexer_by_name
from snippets import BLOCKS, PAGES, ROOT, Block, blocks, parsed, shown

from robustradar import host, registry
from robustradar.catalog import Catalog
from robustradar.cli import main

COMMANDS = [(block, command) for block in BLOCKS for command in block.commands]
# Pages use each other's plugins.
FILES = {block.title: block.text for block in BLOCKS if block.title}
# A ranking's options where the page leaves them to the defaults: here it is enough that it runs.
SHORT = {"--recipe": "quick:epochs=1", "--data": "digits:train_limit=100,eval_limit=60", "--seeds": "1"}
# The README's commands are run by tests/meta, as separate processes.
RUN = [page for page in PAGES if page != ROOT / "README.md"]


def place(block: Block) -> str:
    return f"{shown(block.page)}:{block.line}"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the files that pages tell to write; afterwards the process is as it was."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    path, modules, threads = list(sys.path), set(sys.modules), torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path
    torch.set_num_threads(threads)
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        file = getattr(sys.modules[name], "__file__", None)
        if file and Path(file).is_relative_to(tmp_path):
            del sys.modules[name]


# What holds of all


def test_there_are_pages_and_blocks() -> None:
    assert len(PAGES) > 20
    assert len(COMMANDS) >= 50


def test_the_site_knows_every_language() -> None:
    """Or `make docs`, where warnings are errors, ends."""
    for language in {block.language for block in BLOCKS} - {""}:
        assert get_lexer_by_name(language), language


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.title], ids=place)
def test_a_file_to_write_is_named_in_the_text_above(block: Block) -> None:
    """A fence's title is shown by neither the site nor a code host."""
    above = block.page.read_text(encoding="utf-8").splitlines()[: block.line - 2]
    assert f"`{block.title}`" in " ".join(above[-5:]), place(block)


@pytest.mark.parametrize(("block", "command"), COMMANDS, ids=[f"{place(block)} {command[12:60]}" for block, command in COMMANDS])
def test_commands_parse_and_what_they_name_is_there(block: Block, command: str, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files)
    if "…" in command:
        pytest.fail(f"{place(block)}: write the command out")
    path, options = parsed(command)
    if path not in (["rank"], ["plan"]):
        return
    known = registry.load(options["registry"])
    assert options["study"] is None or options["study"] in known.studies
    catalog = Catalog(host.load(tuple(options["plugin"] or ())), known.aliases)
    for kind, option in (("dataset", "data"), ("attack", "attack"), ("recipe", "recipe"), ("ranker", "ranker")):
        if options[option]:
            catalog.resolve(kind, options[option], f"--{option}")
    for kind, option in (("architecture", "arch"), ("metric", "metric")):
        for text in catalog.expanded(kind, options[option] or (), f"--{option}"):
            catalog.resolve(kind, text, f"--{option}")


def test_what_is_not_run_says_why_and_is_little() -> None:
    withheld = [block for block in BLOCKS if block.withheld]
    runnable = [block for block in BLOCKS if block.commands or block.language == "python"]
    assert len(withheld) < len(runnable) / 3
    for block in withheld:
        assert block.commands or block.language in {"python", "yaml", ""}, f"{place(block)}: nothing would be run here anyway"


def test_console_blocks_hold_commands_alone() -> None:
    for block in BLOCKS:
        if block.language == "console" and not block.withheld:
            lines = block.text.replace("\\\n", " ").strip().splitlines()
            assert len(block.commands) == len(lines), f"{place(block)}: a line that no test runs"


def test_python_and_yaml_of_the_pages_parse() -> None:
    import ast

    import yaml

    for block in BLOCKS:
        if block.language == "python":
            ast.parse(block.text, place(block))
        elif block.language == "yaml":
            yaml.safe_load(block.text)


# Running them


@pytest.mark.parametrize("page", RUN, ids=shown)
def test_what_can_be_copied_runs(page: Path, alone: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for block in blocks(page):
        if block.withheld:
            continue
        if block.language == "python" and not block.title:
            exec(compile(block.text, place(block), "exec"), {"__name__": "page"})
        for command in block.commands:
            out = ran(command, place(block), monkeypatch, capsys)
            if block.text.startswith("$ ") and len(block.commands) == 1:
                assert resembles(out, block.text), f"{place(block)}: the output shown is not what the command prints:\n{out}"


def ran(command: str, where: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """A command's standard output; it must end well."""
    words = shlex.split(command)
    if words[1] in {"rank", "plan"}:
        words += [word for option, value in SHORT.items() if option not in words for word in (option, value)]
    if words[1] == "rank":
        words += ["--device", "cpu", "--quiet"]
    monkeypatch.setattr(sys, "argv", words)
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main()
    streams = capsys.readouterr()
    assert not ended.value.code, f"{where}: {command}\nexit code {ended.value.code}\n{streams.err}"
    return streams.out


def resembles(out: str, shown: str) -> bool:
    """Whether an output is what a page shows of it; a line with … in it stands for any, and so does … for any part of one."""
    wanted = [line.rstrip() for line in shown.strip().splitlines()[1:]]
    given = iter(line.rstrip() for line in out.splitlines())
    return all(any(re.fullmatch(re.escape(line).replace("…", ".*"), other) for other in given) for line in wanted)
