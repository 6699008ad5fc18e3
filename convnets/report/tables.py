"""Markdown tables of measured results: the rows of an experiment and its claims."""

import functools
import math
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from convnets.report import markdown
from convnets.report.ledger import Table, TableRow
from convnets.report.verdicts import BINARY, ENOUGH, Verdict, count_never, error_interval
from convnets.sweep.experiment import Claim

MODE = {"cpu": "reduced size", "full": "the paper's size"}
DECIDED = ("reproduced", "not reproduced")
MANY = 1000  # runs of a row, beyond which nobody would wait for a verdict
WORDS = ("reproduced", "not resolved", "not reproduced")  # verdicts of claims that were run


def number(metric: str, value: float, sign: str = "") -> str:
    """Formats a value of a metric; `sign="+"` shows the sign of positive values too."""
    if metric.startswith("steps"):
        return f"{value:{sign},.0f}"
    # A half rounds up, so that a printed error minus the paper's is the printed difference.
    return f"{value + 1e-9:{sign}.2f}" if "error" in metric else f"{value:{sign}.4g}"


def describe_metric(metric: str) -> str:
    """Returns a metric in words, with its unit, as for an axis: `steps to a training error of 25 %`."""
    name, _, arguments = metric.partition("(")
    value = arguments.rstrip(")").partition(",")[0]
    plain = name.replace("_", " ") + " (%)" * (unit(metric) == "%")
    words = {"steps_to_train_error": f"steps to a training error of {value} %",
             "steps_to_train_loss": f"steps to a training loss of {value}",
             "steps_to_test_error": f"steps to a test error of {value} %",
             "test_error_below": f"test error (%) of the runs below {value} %",
             "any_error": "runs with any error (%)", "train_error": "training error (%)", "train_loss": "training loss"}  # fmt: skip
    return words.get(name, plain)


def unit(metric: str) -> str:
    """Returns the unit of a metric: %, steps, or its name in words."""
    if metric.endswith("_error") or metric.startswith("test_error") or metric == "feature_change":
        return "%"
    return "steps" if metric.startswith("steps") else metric.replace("_", " ")


def heading(table: Table) -> str:
    """Returns the heading of a table: title and size of the experiment."""
    return f"{table.experiment.title}: {MODE[table.size]}"


def anchor(text: str) -> str:
    """Returns GitHub's anchor of a heading: lower case, no punctuation, hyphens for spaces."""
    return re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")


def paper_cell(metric: str, line: TableRow) -> str:
    """Returns the paper's value with its place, or 'none'."""
    if line.paper is None:
        return "none"
    return f"{number(metric, line.paper)}{f' ({line.where})' * bool(line.where)}"


def row_head(metric: str) -> list[str]:
    """Returns the two lines that begin a table of rows."""
    return markdown.head(["network and recipe", "test set", "protocol", f"paper ({unit(metric)})",
                          f"ours ({unit(metric)}), mean ± std (n)", "95 %", "difference", "time a run", "commit"])  # fmt: skip


def row_lines(table: Table, lines: Sequence[TableRow]) -> list[str]:
    """Returns the measured rows of a table in Markdown, without the head.

    The difference from the paper is left out at the size for two cores, whose recipes are cut.
    """
    return [_row_line(table, line) for line in lines if line.values]


def _row_line(table: Table, line: TableRow) -> str:
    metric, values = line.metric, list(line.values.values())
    bad = sum("diverged" in run for run in line.runs)
    note = f", {bad} of {len(line.runs)} diverged" if bad else ", deterministic" if line.row.deterministic else ""
    never = count_never(metric, [run for run in line.runs if "diverged" not in run], line.values)
    note += f", {never} did not reach the target" * bool(never)
    if "below" in metric and len(values) < len(line.runs):
        note = f", {len(line.runs) - len(values)} of {len(line.runs)} at chance"
    spread = f" ± {number(metric, statistics.stdev(values))}" if len(values) > 1 and metric not in BINARY else ""
    facts = _last_test(line)
    seconds, device = statistics.median(r["seconds"] for r in line.runs), facts["device"]
    images = f", {facts['num_examples']:,}" if "num_examples" in facts else ""
    seen = ", train" * sees_training_images(line)
    range_ = compute_interval(line)
    same = line.paper is not None and table.size == "full"
    return markdown.row([
        cell(line.label) + f" ({line.row.recipe})" * bool(line.row.recipe), facts["dataset"].split(":")[0] + seen + images,
        facts["protocol"], paper_cell(metric, line),
        f"**{number(metric, line.mean)}**{spread} ({len(values)}{note})",
        f"{number(metric, range_[0])} to {number(metric, range_[1])}" if range_ else "",
        number(metric, line.mean - line.paper, "+") if same and line.paper is not None else "",
        f"{seconds:.0f} s, {device['count']} x {device['kind']}", facts["commit"][:7],
    ])  # fmt: skip


def _last_test(line: TableRow) -> dict[str, Any]:
    """Returns the newest run that did not diverge, with the facts of the row's test."""
    last = next((run for run in reversed(line.runs) if "diverged" not in run), line.runs[-1])
    return {**last, **(last.get("tests", {}).get(line.test, {}) if line.test else {})}


def sees_training_images(line: TableRow) -> bool:
    """Returns whether the row's test is on training images."""
    return bool(line.test) and line.row.tests[line.test].on_training_images


def compute_interval(line: TableRow) -> tuple[float, float] | None:
    """Returns the 95 % interval of a row's error over runs and test sets, in percent; None for other metrics or one run.

    Training images are no sample of test images: the error on them has the interval over runs.
    """
    metric = line.metric
    tested = unit(metric) == "%" and metric != "feature_change" and (not metric.startswith("train") or bool(line.test))
    if not (tested or metric in BINARY):
        return None
    examples = 0 if sees_training_images(line) else _last_test(line).get("num_examples", 0)
    return error_interval(metric, list(line.values.values()), examples, line.row.deterministic)


CLAIM_HEAD = markdown.head(
    ["claim", "where", "size", "metric", "paper's effect", "ours [95 %]", "paper's effect lies", "n", "verdict"]
)


def claim_lines(table: Table) -> list[str]:
    """Returns the claims that were run in Markdown, without the head."""
    out = []
    for claim, v in zip(table.scale.claims, table.verdicts, strict=True):
        if not v.n:
            continue
        metric = claim.metric or table.experiment.metric
        show = functools.partial(effect, metric, claim.ratio)
        what = "ratio of " if claim.ratio else ""
        says = f"{'at most' if claim.one_sided else 'within'} {show(claim.within)}" if claim.within is not None else ""
        paper = says or (show(claim.size) if claim.size is not None else "")
        ours = measured_effect(metric, claim.ratio, v)
        elsewhere = claim.ours or re.match(r"lecture\b|.*\b(19|20)\d\d\b", claim.where)  # names its own source
        source = "" if elsewhere else table.experiment.source
        named = [part for text in (source, claim.where) for part in text.split(", ") if part]
        place = ", ".join(dict.fromkeys(named))  # a table that both name once
        count = f"{v.n} of {v.planned}" if v.n < v.planned else v.n
        out.append(markdown.row([cell(claim.text), cell(place), table.size, what + cell(metric), paper, ours, v.size, count,
                                 _verdict(claim, v) + ": " * bool(claim.note) + cell(claim.note)]))  # fmt: skip
    return out


def count_verdicts(made: Sequence[Table]) -> str:
    """Returns sentences that count the verdicts, how many hold together, and where the papers' effects lie."""
    judged = [(c, v) for t in made for c, v in zip(t.scale.claims, t.verdicts, strict=True) if v.n]
    run = [v for c, v in judged if not c.ours]
    of_source = {"papers": [v for c, v in judged if not c.ours and not c.of_lecture],
                 "the lecture": [v for c, v in judged if c.of_lecture], "our own": [v for c, v in judged if c.ours]}  # fmt: skip
    counts = [f"{len(found)} of {source} ({', '.join(f'{Counter(v.word for v in found)[w]} {w}' for w in WORDS)})"
              for source, found in of_source.items() if found]  # fmt: skip
    held = Counter(v.word for v in run if v.holds)
    sentences = [
        f"Claims that were run: {', '.join(counts)}.",
        f"After Holm's correction for all claims, {' and '.join(f'{held[w]} of the verdicts *{w}*' for w in DECIDED)} on papers'"
        " and the lecture's claims remain.",
    ]  # fmt: skip
    if interim := sum(v.n < v.planned for _, v in judged):
        sentences.append(
            f"{interim} verdicts are interim, because not all planned runs of these claims have been recorded."
        )
    compared = [v for v in run if v.size and not v.size.startswith("another")]
    inside = [v for v in compared if v.size == "inside"]
    sentences.append(f"For {len(compared)} claims the paper gives the size of the effect in our setting: {len(inside)} of these sizes lie in"
                     f" our interval, and {sum(v.word in DECIDED for v in inside)} of those claims are resolved.")  # fmt: skip
    other = [v.low <= c.size <= v.high for c, v in judged
             if c.size is not None and c.elsewhere and v.low is not None and v.high is not None]  # fmt: skip
    if other:
        sentences.append(
            f"For {len(other)} it gives the size in another setting; {sum(other)} of these lie in our interval."
        )
    return " ".join(sentences)


def _verdict(claim: Claim, v: Verdict) -> str:
    mark = "†" if v.word in DECIDED and not v.holds else ""
    facts = [f"rows of {v.commits} commits"] * (v.commits > 1)
    if v.n < v.planned:
        facts.append(f"interim: {v.n} of {v.planned} runs")
    elif v.word == "not resolved":
        facts.append(what_resolves(claim, v))
    return f"**{v.word}**{mark}" + f" ({'; '.join(facts)})" * bool(facts)


def what_resolves(claim: Claim, v: Verdict) -> str:
    """Returns how many runs of each row would resolve a claim, if the effect and the deviations stayed as they are.

    The half-width of the interval falls with the root of n. It has to fall to the effect's distance from zero, or from
    the margin of an equivalence claim.
    """
    if v.open:
        return "open, because some runs did not reach the target"
    if v.n < ENOUGH and v.p is None:
        return f"a verdict needs {ENOUGH} runs a row"
    if v.effect is None or v.low is None or v.high is None:
        return (
            "times of several commits are not compared"
            if v.commits > 1
            else "a value has no logarithm, or is not finite"
        )
    if v.n < ENOUGH:
        return (
            "a deterministic row has one run, and its error varies with the test images: a larger test set would tell"
        )
    ours, low, high, margin = (
        math.log(x) if claim.ratio else x for x in (v.effect, v.low, v.high, claim.within or 1.0)
    )
    distance = abs(ours) if claim.within is None else abs(margin - (ours if claim.one_sided else abs(ours)))
    needed = v.n * ((high - low) / 2 / distance) ** 2 if distance else math.inf
    return (f"some {math.ceil(needed):,} runs a row would resolve such an effect" if needed <= MANY else
            f"{MANY:,} runs a row would not resolve so small an effect")  # fmt: skip


def effect(metric: str, ratio: bool, value: float) -> str:
    """Formats an effect: a signed difference, or a ratio."""
    return f"{value:.2f} x" if ratio else number(metric, value, "+")


def measured_effect(metric: str, ratio: bool, v: Verdict) -> str:
    """Returns our effect with its interval; '' if nothing was run."""
    show = functools.partial(effect, metric, ratio)
    range_ = f" [{show(v.low)}, {show(v.high)}]" if v.low is not None and v.high is not None else ""
    return (show(v.effect) if v.effect is not None else "") + range_


def cell(text: str) -> str:
    """Escapes a text for a cell of a Markdown table."""
    return text.replace("|", "\\|")


def cost(recorded: Sequence[Mapping[str, Any]]) -> str:
    """Returns a sentence with the number of recorded runs and their hours per device.

    The time covers training; for sweep trials it also covers start-up and testing.
    """
    seconds: dict[str, float] = defaultdict(float)
    for run in recorded:
        device = f"{run['device']['count']} x {run['device']['kind']}"
        seconds["a CPU" if device == "1 x cpu" else device] += run.get("wall", run["seconds"])
    parts = (f"{s / 3600:.1f} h on {device}" for device, s in sorted(seconds.items()))
    return f"{len(recorded)} recorded runs took {' and '.join(parts)}." if recorded else "No run is recorded."
