"""Checks every command of docs/lecture.md in seconds; `make test-lecture` runs each at its smallest size.

As a program (python -m tests.test_lecture) this file runs the commands given on standard input. They share one process,
because starting a process for each would take most of the time.
"""

import collections
import contextlib
import copy
import io
import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import jax
import pytest

import run as program
from convnets import models
from convnets.config import load_config, split_arguments
from convnets.errors import Error
from convnets.models.pretrained import weights
from convnets.modes import describe
from convnets.report import doc_blocks, pages
from convnets.runtime import included
from convnets.sweep import trials
from convnets.sweep.experiment import load_experiments
from convnets.training import validation
from tests.conftest import ROOT, SHARED


def commands(path: Path) -> list[list[str]]:
    """Returns the commands of a Markdown file, split into words: indented lines that begin with `python` or `make`."""
    lines = re.sub(r"\\\n\s*", "", path.read_text()).splitlines()
    return [shlex.split(line, comments=True) for line in lines if re.match(r"    (python|make) ", line)]


COMMANDS = commands(doc_blocks.PAGE)
PART = ("--config.data.train_split=train[:512]", "--config.data.test_split=test[:100]")


def as_before_any_command(values):
    for flag in values.flags_by_module_dict()["run"]:
        flag.unparse()
    return values


def flags_of(words):
    """Returns the flags and the config overrides of a command that begins with python run.py."""
    overrides, others = split_arguments(words[1:])
    values = as_before_any_command(copy.deepcopy(program.FLAGS))
    assert values(others)[1:] == [], words
    return values, overrides


def runs():
    return [words for words in COMMANDS if words[:2] == ["python", "run.py"]]


def test_the_page_has_commands_of_every_kind():
    modes = collections.Counter(flags_of(words)[0].mode for words in runs())
    assert modes["train"] >= 10 and modes["sweep"] >= 15 and modes["describe"] >= 10 and modes["visualize"] >= 3
    others = [words[2] for words in COMMANDS if words not in runs()]  # the worked examples, and the demonstrations
    assert others == [
        "experiments.edges",
        "pytest",
        *(f"experiments.{name}" for name in ("first_rates", "competition", "thinned", "layer_responses", "drift")),
    ]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_command_of_the_page_is_right(words, monkeypatch):
    monkeypatch.chdir(ROOT)
    if words[:3] == ["python", "-m", "pytest"]:
        assert re.search(rf"^def test_\w*{words[-1]}", (ROOT / words[-3]).read_text(), re.M)
        return
    if words[:2] == ["python", "-m"]:  # a demonstration: its own tests run it, since it writes to docs/ and the results
        assert (ROOT / f"{words[2].replace('.', '/')}.py").exists() and len(words) == 3
        return
    flags, overrides = flags_of(words)
    if flags.mode == "sweep":
        assert getattr(load_experiments()[Path(flags.experiment).stem], flags.size)
    elif flags.workdirs or not flags.config:  # uses the run of an earlier command
        before = [flags_of(w)[0] for w in COMMANDS[: COMMANDS.index(words)] if w[:2] == ["python", "run.py"]]
        made = [f.workdir for f in before if f.mode == "train"]
        assert set(flags.workdirs or [flags.workdir]) <= set(made)
    else:
        config, problems = load_config(flags.config, overrides)
        problems += validation.problems(config) if config else []
        assert [p for p in problems if "devices" not in p] == []


def test_the_page_tells_of_every_experiment_that_was_run_and_links_to_what_is_there():
    text = doc_blocks.PAGE.read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (doc_blocks.PAGE.parent / target).exists(), target
    headings = {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in re.findall(r"^#+ (.+)$", text, re.M)}
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= headings
    shown = {name for names in re.findall(r"<!-- results ([^:]+):", text) for name in names.split(", ")}
    drawn = {p.stem for p in (ROOT / pages.FIGURES).glob("*.png")}
    missing = {name for name in drawn if name.endswith("-cpu")} - shown
    assert not missing, f"docs/lecture.md should tell of these experiments: {missing}"


@pytest.mark.parametrize("words", commands(ROOT / "docs" / "weights.md"), ids=" ".join)
def test_a_command_for_published_weights_is_right(words, monkeypatch):
    monkeypatch.chdir(ROOT)
    flags, overrides = flags_of(words)
    if not flags.config:
        assert flags.mode == "export" or flags.weights in included.names()
        return
    config, problems = load_config(flags.config, overrides)
    assert [p for p in problems + validation.problems(config) if "devices" not in p] == []
    assert weights.unpublished(config.model.name, models.create(**config.model)) == ""  # the file's names and function


@pytest.mark.parametrize(
    "words", [words for words in COMMANDS if "--figure=" in words[-1]], ids=lambda words: words[-1]
)
def test_a_drawing_of_the_page_is_up_to_date(words, tmp_path, monkeypatch):
    """Texts are compared, since another version of matplotlib may write another file. The command renews it."""
    monkeypatch.chdir(ROOT)
    flags, overrides = flags_of(words)
    made = tmp_path / Path(flags.figure).name
    describe.describe(load_config(flags.config, overrides)[0], True, str(made))
    shown, new = (re.findall(r"<text[^>]*>([^<]*)", path.read_text()) for path in (Path(flags.figure), made))
    assert shown == new and len(new) > 20


def test_blocks_are_written_anew_and_a_wrong_name_is_named():
    page = "a\n<!-- results x-cpu, y-cpu: python run.py --mode=report -->\nold\n<!-- end -->\nb"
    made = doc_blocks.fill(page, lambda name: [f"| {name} |"])
    assert (
        made == page.replace("\nold\n", "\n\n| x-cpu |\n\n| y-cpu |\n\n")
        and doc_blocks.fill(made, lambda n: [f"| {n} |"]) == made
    )
    row = doc_blocks.fill("<!-- sizes alexnet: python run.py --mode=report -->\n<!-- end -->", lambda name: [])
    assert "| `alexnet` | 60 million | 60,965,224 | 832 million (the lecture) | 724,406,816 |" in row
    with pytest.raises(Error, match="'alexnett' is no network of models"):
        doc_blocks.fill(row.replace("alexnet:", "alexnett:"), lambda name: [])
    with pytest.raises(Error, match="no experiment has the size 'x-cpu'"):
        pages.block([], [], "x-cpu")


# Running the commands -------------------------------------------------------------------------------------------------


def smallest(words, folder: Path):
    """Returns small (command, exit code) pairs for a command of the page; none if its data or weights are missing."""
    flags, overrides = flags_of(words)
    arguments = [re.sub(r"(=|,)runs/|^(--figure=).*/", rf"\g<1>\g<2>{folder}/", word) for word in words[2:]]
    if flags.mode == "prepare":  # fails, because ImageNet's archives are not here
        return [([word.replace("=DIR", f"={folder}").replace("=ARCHIVES", f"={folder}") for word in arguments], 3)]
    if flags.mode == "sweep":  # runs the first row whose data set is here, no ensemble; planning checks all rows
        planned = trials.plan_trials(trials.load_experiment(flags.experiment, flags.size), flags.size, 1, overrides)
        found = [
            shrunk(trial.arguments, folder / f"{name}-{Path(flags.experiment).stem}")
            for name, trial in planned.items()
            if not trial.members
        ]
        return [(command, 0) for command in filter(None, found)][:1]
    if flags.mode == "train":
        command = shrunk([a for a in arguments if not a.startswith("--workdir")], folder / Path(flags.workdir).name)
        return [(command, 0)] if command else []
    return [] if flags.weights else [(arguments, 0)]


def shrunk(arguments, workdir):
    """Returns a training command at its smallest size, or None if its data set is not here."""
    overrides, others = split_arguments(arguments)
    source = next(a for a in others if a.startswith("--config=")).removeprefix("--config=")
    name = load_config(source, overrides)[0].data.name
    if name in ("imagenet2012", "zip_codes"):
        return None
    prepared = (SHARED / "tfds" / name).exists()  # all other data sets are small, and need no download by hand
    part = [*PART, f"--config.data.data_dir={SHARED / 'tfds'}"] if prepared else []
    return [*arguments, *part, "--config.train.epochs=0.01", f"--workdir={workdir}"]


def attempt(command, expected) -> str:
    """Runs a command in this process; returns what went wrong, or ''."""
    as_before_any_command(program.FLAGS)
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            code = program.main(["run.py", *command])
    except Error as e:
        code = e.code
        said.write(str(e))
    return "" if code == expected else f"{command} ended with {code}: {said.getvalue()[-500:]}"


def main() -> None:
    jax.config.update("jax_num_cpu_devices", 1)  # as in a run, unlike other tests: a recipe may have a batch size of 1
    jax.config.update("jax_numpy_dtype_promotion", "standard")
    given = json.load(sys.stdin)
    for words in given["commands"]:
        began = time.process_time()
        try:
            pairs = smallest(words, Path(given["folder"]))
            wrong = [attempt(*pair) for pair in pairs]
        except Error as e:
            pairs, wrong = [], [str(e)]
        print(json.dumps([words, len(pairs), [w for w in wrong if w], time.process_time() - began]), flush=True)


@pytest.mark.lecture
@pytest.mark.timeout(1800)
def test_every_command_of_the_page_runs(tmp_path, shared_data):
    later = [words for words in runs() if "--mode=visualize" in words]  # these need the runs of the other commands
    done, data = [], tmp_path / "tfds"
    data.mkdir()
    (data / "mnist").symlink_to(Path(shared_data, "mnist").resolve())  # shifted_digits is made from the MNIST beside it
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "TFDS_DATA_DIR": str(data)}
    for commands in ([words for words in runs() if words not in later], later):
        processes = [
            subprocess.Popen([sys.executable, "-m", "tests.test_lecture"], cwd=ROOT, text=True, stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, env=environment)
            for _ in range(2)
        ]  # fmt: skip
        for i, process in enumerate(processes):
            json.dump({"folder": str(tmp_path), "commands": commands[i::2]}, process.stdin)
            process.stdin.close()
        for process in processes:
            with process:
                for line in process.stdout:
                    done.append(json.loads(line))
                    print(f"{done[-1][3]:5.1f} s  {done[-1][1]} run  {' '.join(done[-1][0])[:130]}", flush=True)
            assert process.returncode == 0
    assert [wrong for _, _, wrong, _ in done if wrong] == [] and len(done) == len(runs())
    # Commands that only print, that need missing weights or digits, or that train two of the largest networks (only planned).
    not_run = ("--launcher=print", "--weights=", "experiments/speed.py", "experiments/zip_codes.py")
    assert [words for words, count, *_ in done if not count and not any(n in " ".join(words) for n in not_run)] == []
    print(f"{len(done)} commands, {sum(seconds for *_, seconds in done) / 2:.0f} s on two cores")


if __name__ == "__main__":
    main()
