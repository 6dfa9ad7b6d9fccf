"""What CI reads of the gate's JUnit and SARIF, as GitHub, GitLab and Jenkins document it: closed schemas of all that the gate writes.

Nothing light on PyPI ships the official schemas, so these are narrower ones in our own words. What this file makes was held against OASIS's
JSON schema of SARIF 2.1.0, and against the elements used here of junit-10.xsd of Jenkins's xunit plugin (whose `errors` everybody reads
as `error`), when it was written.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
from gated_cells import LOSS, SIZE, bits, given, sampled, seeded, stateless

from robustradar.gate import Comparison, Rule, compare, form
from robustradar.gate.form import View

# Characters of a rule's descriptions that GitHub takes; results and rules a run; bytes of a JUnit file that GitLab takes.
DESCRIPTION, RESULTS, JUNIT_BYTES = 1024, 25_000, 30 * 10**6


def told(**other: Any) -> dict[str, Any]:
    """A SARIF message. GitHub takes no empty ones."""
    text = {"type": "string", "minLength": 1, **other}
    return {"type": "object", "additionalProperties": False, "required": ["text"], "properties": {"text": text}}


def closed(**properties: Any) -> dict[str, Any]:
    """An object of exactly these properties."""
    return {"type": "object", "additionalProperties": False, "required": sorted(properties), "properties": properties}


LEVEL = {"enum": ["error", "warning", "note"]}
NAME = {"type": "string", "minLength": 1}
ONE = {"type": "integer", "minimum": 1}
RULE = closed(
    id=NAME,
    shortDescription=told(maxLength=DESCRIPTION),
    fullDescription=told(maxLength=DESCRIPTION),
    help=told(),
    defaultConfiguration=closed(level=LEVEL),
)
REGION = closed(startLine=ONE, startColumn=ONE, endLine=ONE, endColumn=ONE)
# A reference from the repository's root: no scheme, nothing unescaped.
URI = {"type": "string", "pattern": r"^([A-Za-z0-9._~!$&'()*+,;=@/-]|%[0-9A-F]{2})+$"}
PLACE = closed(physicalLocation=closed(artifactLocation=closed(uri=URI), region=REGION))
RESULT = closed(
    ruleId=NAME,
    level=LEVEL,
    message=told(),
    locations={"type": "array", "items": PLACE, "minItems": 1, "maxItems": 1},
    partialFingerprints=closed(primaryLocationLineHash=NAME),
)
DRIVER = closed(name=NAME, version=NAME, rules={"type": "array", "items": RULE, "minItems": 1, "maxItems": RESULTS, "uniqueItems": True})
RUN = closed(tool=closed(driver=DRIVER), results={"type": "array", "items": RESULT, "maxItems": RESULTS})
SARIF = closed(
    **{"$schema": {"type": "string", "format": "uri", "pattern": r"^https://.*/sarif-schema-2\.1\.0\.json$"}},
    version={"const": "2.1.0"},
    runs={"type": "array", "items": RUN, "minItems": 1, "maxItems": 1},
)

# Element: the attributes it must have, and the elements in it. All that Jenkins's XSD allows in these places and GitLab's parser reads.
NUMBERS = {"name", "tests", "failures", "errors"}
JUNIT: dict[str, tuple[set[str], set[str]]] = {
    "testsuites": (NUMBERS, {"testsuite"}),
    "testsuite": (NUMBERS | {"skipped"}, {"testcase"}),
    "testcase": ({"classname", "name"}, {"failure", "error", "skipped", "system-out"}),
    **{tag: ({"type", "message"}, set()) for tag in ("failure", "error", "skipped")},
    "system-out": (set(), set()),
}
HOSTILE = 'evil/<b>|`x`\n::error::"gone" %25\x07&\ud800 ]]>'
COMPARISONS = ("every verdict", "hostile", "empty", "large")


@pytest.fixture(params=COMPARISONS)
def comparison(request: pytest.FixtureRequest) -> Comparison:
    gone, odd = stateless("failed", f"{HOSTILE}: kaboom"), stateless("skipped", "no classes", replace(LOSS, name="odd"))
    losses = [replace(LOSS, name=f"loss{i}") for i in range(2)]
    match request.param:
        case "every verdict":
            before = [sampled(bits(700, 1000)), seeded([1.0], losses[0], chance=False), seeded([2.0], losses[1]), odd]
            now = [sampled(bits(600, 1000)), seeded([0.5], losses[0], chance=False), seeded([3.0], losses[1]), odd]
            exact = [seeded([value], SIZE, chance=False) for value in (98.0, 99.0)]
            found = compare(given(*before, exact[0]), given(*now, exact[1], seeded([1.0], replace(SIZE, name="fresh"))), Rule())
            assert {row.verdict for row in found.rows} == {"regression", "unjudged", "improvement", "change", "same", "new"}
            return found
        case "hostile":
            before_, now_ = (sampled(bits(right, 1000), candidate=HOSTILE, metric=HOSTILE) for right in (700, 600))
            return compare(given(before_, sampled(bits(1, 9))), given(now_, gone), Rule())
        case "empty":
            return compare(given(), given(), Rule())
        case _:
            runs = [[sampled(bits(right, 1000), candidate=f"papers/mlp:width={i}") for i in range(1000)] for right in (700, 600)]
            return compare(given(*runs[0]), given(*runs[1]), Rule())


@pytest.mark.parametrize("view", [View("gates/robust ness.json"), View("robustness.json", changed_only=True)], ids=["all", "changed"])
class TestIngestion:
    def test_sarif_is_what_github_reads(self, comparison: Comparison, view: View) -> None:
        document = json.loads(form.sarif(comparison, view))
        jsonschema.Draft202012Validator(SARIF).validate(document)
        (run,) = document["runs"]
        rules = {rule["id"]: rule["defaultConfiguration"]["level"] for rule in run["tool"]["driver"]["rules"]}
        assert all(rules[result["ruleId"]] == result["level"] for result in run["results"])
        prints = [result["partialFingerprints"]["primaryLocationLineHash"] for result in run["results"]]
        assert len(set(prints)) == len(prints) == len(comparison.of("regression", "unjudged", "improvement", "change"))

    def test_junit_is_what_gitlab_and_jenkins_read(self, comparison: Comparison, view: View) -> None:
        text = form.junit(comparison, view)
        assert len(text.encode()) < JUNIT_BYTES
        root = ElementTree.fromstring(text)
        assert root.tag == "testsuites"
        for element in root.iter():
            attributes, inner = JUNIT[element.tag]
            assert set(element.attrib) == attributes
            assert {child.tag for child in element} <= inner
        (suite,) = root
        kinds = {tag: len(suite.findall(f"testcase/{tag}")) for tag in ("failure", "error", "skipped")}
        counts = (len(suite), *kinds.values())
        assert tuple(int(suite.attrib[name]) for name in ("tests", "failures", "errors", "skipped")) == counts
        assert {name: root.attrib[name] for name in NUMBERS} == {name: suite.attrib[name] for name in NUMBERS}
        # GitLab reads the text alone, and of two cases of one name only the first.
        assert all((found.text or "").strip() for tag in (*kinds, "system-out") for found in suite.iter(tag))
        names = [(case.attrib["classname"], case.attrib["name"]) for case in suite]
        assert len(set(names)) == len(names)
        assert all(len(case) <= 1 for case in suite)
