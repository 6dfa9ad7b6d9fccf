"""What the pages say of the code is so: flags, metrics, registry keys, messages, exit codes; and the site's menu has every page."""

import ast
import dataclasses
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from snippets import BLOCKS, DOCS, PAGES, ROOT, shown

from robustradar import errors, host, registry
from robustradar.cli import exit_code
from robustradar.contract.metric import Metric
from robustradar.report.flag import MEANING

sys.path.insert(0, str(DOCS))
import built

SOURCES = [*(ROOT / "robustradar").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def rows(text: str) -> list[list[str]]:
    """The cells of every line of every table, heads and rules left out."""
    lines = [re.split(r"(?<!\\)\|", line)[1:-1] for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line] for line in lines]
    return [
        line
        for line, below in zip(cells, [*cells[1:], ["end"]], strict=True)
        if set("".join(line)) - set("-: ") and set("".join(below)) - {"-"}
    ]


# The menu


def test_every_page_is_in_the_menu_once() -> None:
    listed = re.findall(r"^[a-z0-9/-]+$", built.contents(), re.M)
    assert sorted([*listed, "index"]) == sorted(file.relative_to(DOCS).with_suffix("").as_posix() for file in DOCS.rglob("*.md"))


@pytest.mark.parametrize("file", [file for file in PAGES if DOCS in file.parents], ids=shown)
def test_links_lead_to_files_and_headings(file: Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", file.read_text(encoding="utf-8"), flags=re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        assert "://" not in link, "pages link to nothing outside"
        path, _, heading = link.partition("#")
        target = file.parent / path if path else file
        assert target.exists(), f"{shown(file)}: {link}"
        if heading:
            assert heading in anchors(target), f"{shown(file)}: {link}"


def anchors(file: Path) -> set[str]:
    """A page's headings as code hosts and MyST turn them into addresses."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", file.read_text(encoding="utf-8"), flags=re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower().strip()).replace(" ", "-") for heading in headings}


# What is built

MARKS = [(file, mark) for file in PAGES for mark in re.findall(r"^<!-- built: (.+?) -->$", file.read_text(encoding="utf-8"), re.M)]


def test_what_is_built_needs_no_torch_and_is_not_empty() -> None:
    marks = sorted({mark for _, mark in MARKS if not mark.startswith("python")})  # whose reader is only where the site is built
    program = f"import sys; sys.path.insert(0, {str(DOCS)!r}); import built; print([len(built.text(mark)) for mark in {marks}])"
    done = subprocess.run(
        [sys.executable, "-c", f"{program}; assert 'torch' not in sys.modules"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert min(ast.literal_eval(done.stdout)) > 200


def test_an_unknown_mark_is_refused() -> None:
    with pytest.raises(
        ValueError, match="docs: got 'nonsense' to build, expected one of architectures, .*commands, contents, modules, schema"
    ):
        built.text("nonsense")


def test_every_kind_of_declaration_has_its_page() -> None:
    assert {f"{kind}s" for kind in host.KINDS} <= {mark for _, mark in MARKS}


def test_the_site_is_a_target_of_the_makefile() -> None:
    done = subprocess.run(["make", "-n", "docs"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "sphinx-build -q -W" in done.stdout


def test_pins_of_the_site_hold_no_addresses_and_no_torch() -> None:
    pins = page("requirements.txt").splitlines()
    assert [line for line in pins if not re.match(r"^[a-z0-9.-]+==[0-9]", line)] == []
    assert not [line for line in pins if line.startswith(("torch", "timm", "requests==2.25"))]
    wanted = re.findall(r"^([A-Za-z-]+)>=", page("requirements.in"), re.M)
    assert {name.lower() for name in wanted} <= {line.partition("==")[0] for line in pins}


# Flags

# Where scores get their flags.
EMITTERS = ["robustradar/trust.py", "robustradar/analysis.py", "robustradar/execute.py", "robustradar/training"]
EMITTERS += [f"plugins/robustradar_{name}" for name in ("baselines", "tradeoff", "transition")]
# Other words with hyphens there: names of declarations are told by their plugins, these are choices, file names and statuses.
NO_FLAGS = {
    "rise-and-fall",
    "one-cycle",
    "crop-flip",
    "finite-differences",
    "gauss-newton",
    "below-zero",
}
NO_FLAGS |= {"residual-bound", "error-bound"}


def emitted() -> Iterator[str]:
    """Texts in the code that look like a flag, up to their colon."""
    folders = [ROOT / name for name in EMITTERS]
    for file in (file for folder in folders for file in ([folder] if folder.suffix else folder.rglob("*.py"))):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                if found := re.fullmatch(r"([a-z]+(?:-[a-z0-9/]+)+)(?::.*)?", node.value):
                    yield found[1]


def test_every_flag_is_on_the_page_with_its_meaning() -> None:
    listed = {line[0].strip("`"): line[1] for line in rows(page("flags.md"))}
    names = {declared.name for plugin in host.load() for items in plugin.declarations.values() for declared in items}
    assert set(emitted()) - names - NO_FLAGS - set(listed) == set()
    assert set(MEANING) - set(listed) == set()
    assert {flag: text for flag, text in listed.items() if flag in MEANING and text != MEANING[flag]} == {}
    assert set(listed) - set(MEANING) - set(emitted()) == set()


# Metrics


def test_every_metric_is_on_the_page_with_its_columns_and_their_directions() -> None:
    text = page("metrics.md")
    sections = {
        name: body
        for head, body in re.findall(r"^### (.+?)\n(.*?)(?=^##|\Z)", text, re.M | re.S)
        for name in re.findall(r"`([^`]+)`", head)
    }
    arrows = {"higher": "` ↑", "lower": "` ↓", "none": "`"}
    declared = [
        (plugin.name, metric)
        for plugin in host.load()
        for metric in plugin.declarations.get("metric", ())
        if plugin.distribution == "robustradar"
    ]
    assert len(declared) >= 23
    for plugin, metric in declared:
        assert isinstance(metric, Metric)
        body = sections.get(f"{plugin}/{metric.name}") or sections.get(metric.name)
        if body is None:  # those that need no training have a page of their own
            untrained = page("baselines.md")
            assert [column.name for column in metric.columns if f"| `{column.name}` |" not in untrained] == [], f"{plugin}/{metric.name}"
            continue
        for row in ("columns", "formula", "source", "cost", "assumes", "do not trust it"):
            assert f"\n| {row} |" in body, f"{metric.name}: {row}"
        for column in metric.columns:
            shown_as = f"`{column.name}{arrows[column.direction]}"
            assert shown_as in body, f"{metric.name}: {shown_as}"


def test_flags_that_the_page_of_metrics_names_are_flags() -> None:
    advice = re.findall(r"^\| do not trust it \| (.*) \|$", page("metrics.md"), re.M)
    named = {word for line in advice for word in re.findall(r"`([a-z]+(?:-[a-z0-9/]+)+)`", line)}
    metrics = {metric.name for plugin in host.load() for metric in plugin.declarations.get("metric", ())}
    assert len(named) > 25
    assert named - metrics <= {line[0].strip("`") for line in rows(page("flags.md"))}


# registry.yaml


def test_the_keys_of_the_registry_are_listed_with_their_defaults() -> None:
    listed = rows(page("reference/registry.md"))
    top = {line[0].strip("`") for line in listed if len(line) == 3}
    assert top == {*registry.SECTIONS, "defaults", "studies"}
    keys = {line[0].strip("`"): line[2] for line in listed if len(line) == 5}
    assert set(keys) == {field.name for field in dataclasses.fields(registry.Request)}
    defaults = registry.load().defaults
    for key, text in keys.items():
        value = getattr(defaults, key)
        values = value if isinstance(value, tuple) else (value,)
        expected = ", ".join(f"`{one}`" for one in values)
        assert text.startswith("none") if value is None else text == expected, key


def test_the_complete_example_loads_and_has_every_key(tmp_path: Path) -> None:
    (example,) = [block.text for block in BLOCKS if block.title == "radar.yaml"]
    file = tmp_path / "radar.yaml"
    file.write_text(example, encoding="utf-8")
    own = registry.parse(example, "radar.yaml")
    assert set(own.aliases) == set(registry.SECTIONS.values())
    said = own.studies["mine"].over(own.defaults)
    assert [field.name for field in dataclasses.fields(said) if getattr(said, field.name) is None] == []
    whole = registry.load(file)
    assert whole.defaults.norm == "linf"
    assert "quickstart" in whole.studies


def test_the_error_shown_is_the_one_that_is_raised() -> None:
    (example,) = [block.text for block in BLOCKS if block.title == "radar.yaml"]
    with pytest.raises(errors.RegistryError) as raised:
        registry.parse(example.replace("    norm: linf\n", "    epsilon: 0.1\n"), "radar.yaml")
    assert f"    {raised.value}\n" in page("reference/registry.md")


# Messages and exit codes


def fixed_parts() -> str:
    """Every text of the code, the parts of f-strings apart."""
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in SOURCES]
    return "\n".join(
        node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def test_messages_of_the_faq_are_the_code_s_own() -> None:
    messages = [block.text.strip() for block in BLOCKS if block.page == DOCS / "faq.md" and not block.language]
    assert 10 <= len(messages) <= 25
    code = fixed_parts()
    for message in messages:
        parts = [part.strip(" .") for part in re.split(r"…|x_train|: key|an \.npz|:? ?got ", message)]
        assert [part for part in parts if len(part) > 3 and part not in code] == [], message


def test_exit_codes_are_listed_with_every_one_that_there_is() -> None:
    text = page("reference/commands.md")
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.M)}
    assert codes == set(exit_code.MEANINGS)
    classes = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, errors.RobustRadarError)]
    assert {cls.exit_code for cls in classes} <= codes
