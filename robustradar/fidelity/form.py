"""A fidelity as text: the table for a terminal, a page in Markdown, and the words that both and the HTML page share."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial

from robustradar.fidelity.judgement import GAP, Agreement, Fidelity, Judgement, Price
from robustradar.fidelity.statistic import ALIKE, DRAWS, POOL, POOLS
from robustradar.report import markdown as page
from robustradar.report import terminal
from robustradar.report.cell import short
from robustradar.report.markdown import console, escaped
from robustradar.report.svg import printable
from robustradar.values import counted

_NONE = "–"
_LENGTH = 300
_LEAST = 1e-5  # smaller shares of the truth's cost are all as good as nothing


def as_json(found: Fidelity) -> str:
    """The document of schema ``robustradar-fidelity/1``."""
    return json.dumps(found.json(), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def text(found: Fidelity, width: int | None = None) -> str:
    """The table for a terminal of that width, with what is to be known before it is trusted."""
    return "\n\n".join([subject(found), _table(found, partial(terminal.table, most=width)), "\n".join(remarks(found))])


def markdown(found: Fidelity) -> str:
    """A page: the table, remarks, differences to the trivial scores, choices, and how to repeat it."""
    parts = [
        "# Fidelity",
        escaped(subject(found)),
        _table(found, page.table),
        "\n".join(f"- {escaped(remark)}" for remark in remarks(found)),
        "## Against the trivial scores",
        difference_words(),
        page.table(differences(found), difference_heads(found)),
        "## Choosing by a score",
        choice_words(),
        page.table(choices(found), choice_heads()),
    ]
    if command := found.provenance.get("command"):
        parts += ["## Repeat", console(command)]
    return printable("\n\n".join(parts)) + "\n"


def subject(found: Fidelity) -> str:
    """What the scores are judged on."""
    truth = found.truth
    taken = [f"part {truth['part']}"] if truth["part"] else []
    taken += [f"a sample of {truth['sample']}, seed {truth['seed']}"] if truth["sample"] else []
    untold = [f"{counted(truth['without_truth'], 'row')} without a truth left out"] if truth["without_truth"] else []
    beside = f" ({'; '.join([*taken, *untold])})" if taken or untold else ""
    return (
        f"Truth: {truth['column']} of {truth['file']}, {truth['candidates']} candidates{beside}, "
        f"{short(truth['min'])} to {short(truth['max'])}, standard deviation {short(truth['spread'])}."
    )


def heads(found: Fidelity) -> list[str]:
    """Of the main table."""
    return ["score", "n", *(f"τ {name}" for name in found.slices), "regret", "cost", "verdict"]


def row(judgement: Judgement, found: Fidelity) -> list[str]:
    """A score in the main table."""
    name = f"{judgement.name}{' (trivial)' if judgement.trivial else ''}"
    taus = [tau(judgement.slices[part]) for part in found.slices]
    total = judgement.candidates + judgement.missing
    known = f"{judgement.candidates} of {total}" if judgement.missing else str(total)
    return [name, known, *taus, real(judgement.slices["all"].pool_regret, ".4g"), cost(judgement.price), judgement.verdict]


def ceiling_row(found: Fidelity) -> list[str]:
    """The noise ceiling in the main table."""
    taus = [real(found.ceiling.get(part), ".2f") for part in found.slices]
    return ["noise ceiling", str(found.truth["candidates"]), *taus, "", "", ""]


def tau(on: Agreement) -> str:
    """Kendall's tau with its interval."""
    return _NONE if on.tau is None or on.low is None or on.high is None else f"{on.tau:.2f} [{on.low:.2f}, {on.high:.2f}]"


def real(value: float | None, form: str) -> str:
    """A number, where there is one."""
    return _NONE if value is None else format(value, form)


def cost(price: Price | None) -> str:
    """The share of the truth's cost, else the passes."""
    if price is None:
        return "not known"
    if price.passes == 0:
        return "0"
    if price.share is None:
        return f"{short(price.passes)} passes"
    return f"{100 * price.share:.2g} %" if price.share >= _LEAST else f"< {100 * _LEAST:g} %"


def _table(found: Fidelity, draw: Callable[..., str]) -> str:
    """The main table."""
    rows = [row(judgement, found) for judgement in found.judgements]
    rows = [*([ceiling_row(found)] if found.ceiling else []), *rows]
    return draw(rows, heads(found))


def remarks(found: Fidelity) -> list[str]:
    """What the table's words mean, and what not to trust."""
    slices = found.truth["slices"]
    told = [
        "τ is Kendall's τ-b with the truth, every score turned so that higher is better; brackets hold 95 % intervals of a bootstrap over "
        f"candidates ({DRAWS} draws). The verdict is by the paired interval of the difference in τ to each trivial score, over all "
        "candidates.",
        f"top half ({slices['top half']['candidates']} candidates) and top quarter ({slices['top quarter']['candidates']}) are by "
        "the truth, for diagnosis only: nobody can choose by it.",
    ]
    if "size-matched" in slices:
        told.append(
            f"size-matched: τ over the {slices['size-matched']['pairs']} pairs of candidates of which the larger has at most "
            f"{100 * (ALIKE - 1):.0f} % more parameters."
        )
    else:
        told.append("No parameter counts are known: nothing is size-matched, and no score is compared with them.")
    told.append(f"regret: truth lost by taking the score's first of up to {POOL} random candidates, on average over {POOLS} draws.")
    told.append("cost: samples passed forward and backward to get the score, clean training included, over those of the truth's training.")
    if found.ceiling:
        told.append(
            "noise ceiling: the τ to be expected between the truth and another measurement of it, its standard deviation being "
            f"{short(found.truth['noise'])} on average. No score can be expected to do better."
        )
    elif found.truth["noise_known"]:
        known = f"{found.truth['noise_known']} of {found.truth['candidates']}"
        told.append(f"The truth's standard deviation is known for {known} candidates only: there is no noise ceiling.")
    return told + found.warnings + _missing(found)


def _missing(found: Fidelity) -> list[str]:
    """Who is left out and why, scores of one reason together."""
    together: dict[str, list[str]] = {}
    for judgement in found.judgements:
        if judgement.missing:
            reasons = sorted(judgement.reasons.items(), key=lambda reason: -reason[1])[:3]
            why = "; ".join(f"{' '.join(reason.split())[:_LENGTH]} ({count})" for reason, count in reasons)
            flag = f" More than {100 * GAP:.0f} % are missing: who is left out may be who is hard to predict." if judgement.flags else ""
            total = judgement.missing + judgement.candidates
            words = f"{judgement.missing} of {total} candidates have no number and are left out: {why}.{flag}"
            together.setdefault(words, []).append(judgement.name)
    return [f"{', '.join(names)}: {words}" for words, names in together.items()]


def difference_heads(found: Fidelity) -> list[str]:
    """Of the table of differences."""
    return ["score", "less", *(f"τ {name}" for name in found.slices), "partial τ"]


def differences(found: Fidelity) -> list[list[str]]:
    """Every score that is not trivial less every one that is, by slice."""
    rows = []
    for judgement in found.judgements:
        if not judgement.trivial:
            for to in dict.fromkeys(d.to for d in judgement.differences):
                by_slice = {d.slice: d for d in judgement.differences if d.to == to}
                taus = [_between(d.tau, d.low, d.high) if (d := by_slice.get(name)) else _NONE for name in found.slices]
                known = _between(d.partial, d.partial_low, d.partial_high) if (d := by_slice.get("all")) else _NONE
                rows.append([judgement.name, to, *taus, known])
    return rows


def _between(value: float | None, low: float | None, high: float | None) -> str:
    """A signed number with its interval."""
    return _NONE if value is None or low is None or high is None else f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"


def difference_words() -> str:
    """What the table of differences says."""
    return (
        "Kendall's τ less the trivial score's, with the interval of a paired bootstrap over candidates; and over all candidates the "
        "partial τ, what the score tells of the truth that the trivial one does not: about 0 is nothing, however high its own τ."
    )


def choice_words() -> str:
    """What the table of choices says."""
    return (
        "Regret is the truth that is lost by taking the score's first candidate; recall the share of the truth's first five, or a tenth, "
        f"that are among the score's. In pools: on average over {POOLS} random pools of up to {POOL}; size-matched ones are of one size."
    )


def choice_heads() -> list[str]:
    """Of the table of choices."""
    return ["score", "slice", "n", "ρ", "regret", "recall of 5", "recall of a tenth", "regret in pools", "recall of 5 in pools"]


def choices(found: Fidelity) -> list[list[str]]:
    """What comes of choosing by each score, on each slice."""
    rows = []
    for judgement in found.judgements:
        for name, on in judgement.slices.items():
            if on.tau is not None:
                counts = [real(on.spearman, ".2f"), real(on.regret, ".4g"), *(real(v, ".2f") for v in (on.recall, on.recall_tenth))]
                rows.append([judgement.name, name, str(on.candidates), *counts, real(on.pool_regret, ".4g"), real(on.pool_recall, ".2f")])
    return rows
