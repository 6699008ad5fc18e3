"""Members of a population equal the single runs of their seeds, also after a kill, a divergence or a late start."""

import functools
import io
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rich.console

from convnets.augment import device_ops, pipeline
from convnets.config import load_config
from convnets.errors import CheckpointError, DivergedError
from convnets.modes import train_seeds
from convnets.runtime.arrays import name_leaves
from convnets.runtime.preemption import Preemption
from convnets.runtime.progress import Progress
from convnets.training import divergence, validation
from convnets.training.checkpoint import Checkpoints
from convnets.training.multi_seed import Population
from convnets.training.trainer import Run
from tests.conftest import ROOT

pytestmark = pytest.mark.usefixtures("optimized")

SEEDS = (3, 4, 5)
STEPS = 8


def config(seed, **optimizer):
    """Returns an 8-step config that uses every seeded choice and every part of a training state.

    A seed decides initial weights, example order, augmentation and dropout.
    """
    config, problems = load_config(ROOT / "configs/ablation.py:mnist10k", [f"--config.train.seed={seed}"])
    assert not problems
    config.model.update(layers="conv(4, 3)|norm|relu|dropout(0.3)|out", side=8)
    config.data.update(name="digits", train_split="train", test_ops="decode|value_range(0.0, 1.0)",
                       train_ops="decode|distort(translate=1)|value_range(0.0, 1.0)")  # fmt: skip
    config.optim.update({"schedule": "plateau(0.5, 1, 3)", "average": "ema(0.8)", "max_norm": 3.0, **optimizer})
    config.train.update(epochs=STEPS * 48 / 1437, batch_size=48, eval_every_epochs=0.1, log_every_steps=3)
    config.checkpoint.update(every_steps=2, keep=2)
    return config


def folders(workdir):
    found = [workdir / f"seed{seed}" for seed in SEEDS]
    for folder in found:
        folder.mkdir(parents=True, exist_ok=True)
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Returns the workdirs of a population trained without interruption."""
    found = folders(tmp_path_factory.mktemp("whole"))
    train_seeds.train([config(seed) for seed in SEEDS], found[0].parent, False)
    return found


@pytest.mark.parametrize("together", [False, True])
def test_the_progress_bar_is_closed_if_the_logs_cannot_be_opened(tmp_path, monkeypatch, together):
    """Else the cursor of the terminal stays hidden."""
    terminal = functools.partial(rich.console.Console, file=io.StringIO(), force_terminal=True)
    monkeypatch.setattr(rich.console, "Console", terminal)
    (tmp_path / "events").write_text("a file")
    found = Population([config(3)], [tmp_path]) if together else Run(config(3), tmp_path)
    with pytest.raises(CheckpointError, match="events could not be written"):
        found.train(Preemption())
    assert Progress.shared is None and Progress.count == 0


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def saved(folder) -> dict[str, np.ndarray]:
    checkpoints = Checkpoints(folder / "checkpoints")
    with checkpoints._open() as files:
        return files.load(checkpoints.steps()[-1])


def test_members_are_the_single_runs_of_their_seeds(whole, tmp_path):
    single = tmp_path / "single"
    for seed, folder in list(zip(SEEDS, whole, strict=True))[1:]:  # no member is a copy of the first
        single = tmp_path / str(seed)
        single.mkdir()
        run = Run(config(seed), single)
        run.train(Preemption())
        for ours, theirs in zip(lines(folder), lines(single), strict=True):
            assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-6)
        ours, theirs = saved(folder), saved(single)
        assert ours.keys() == theirs.keys() == name_leaves(run.state).keys()
        for name, value in theirs.items():
            np.testing.assert_allclose(
                ours[name], value, rtol=1e-4, atol=1e-5 * max(np.abs(value).max(), 1), err_msg=name
            )
        assert json.loads((folder / "config.json").read_text()) == run.config.to_dict()
        result, expected = json.loads((folder / "result.json").read_text()), run.test()[0]
        assert result.keys() == expected.keys()
        for key in ("seed", "steps", "num_examples", "top1_error", "parameters"):
            assert result[key] == expected[key], key
    assert lines(whole[0])[0]["loss"] != pytest.approx(lines(whole[1])[0]["loss"], rel=1e-3)


@pytest.mark.faults
@pytest.mark.parametrize("member", [1, 2])
def test_killed_while_it_saves_and_started_again_is_never_stopped(whole, tmp_path, monkeypatch, member):
    """Killed at step 4 when only some members are saved: all resume from step 2, which every member has."""
    found, save = folders(tmp_path), Run._save

    def dies(self, state):
        if int(state.step) == 4 and self.seed == SEEDS[member]:
            raise KeyboardInterrupt
        save(self, state)

    monkeypatch.setattr(Run, "_save", dies)
    with pytest.raises(KeyboardInterrupt):
        train_seeds.train([config(seed) for seed in SEEDS], tmp_path, False)
    monkeypatch.undo()
    assert [Checkpoints(f / "checkpoints").steps()[-1] for f in found] == [4] * member + [2] * (3 - member)
    again = tmp_path / "again"
    shutil.copytree(tmp_path, again, ignore=lambda *_: ["again"])
    population = Population([config(seed) for seed in SEEDS], folders(again))
    population._meet()
    assert [int(member.state.step) for member in population.members] == [2, 2, 2]
    train_seeds.train([config(seed) for seed in SEEDS], tmp_path, False)
    for ours, theirs in zip(found, whole, strict=True):
        assert lines(ours) == lines(theirs)
        assert all(np.array_equal(value, saved(theirs)[name]) for name, value in saved(ours).items())


def test_more_seeds_leave_the_finished_ones_as_they_are(whole, capsys):
    before = [(f / "metrics.jsonl").read_bytes() for f in whole]
    train_seeds.train([config(seed) for seed in SEEDS], whole[0].parent, False)
    assert "runs to finish" not in capsys.readouterr().out
    late = whole[0].parent / "seed6"
    train_seeds.train([config(seed) for seed in (*SEEDS, 6)], late.parent, False)
    assert "1 of 4 runs to finish" in capsys.readouterr().out
    assert [(f / "metrics.jsonl").read_bytes() for f in whole] == before
    assert json.loads((late / "result.json").read_text())["seed"] == 6


def copies_with_twice_the_epochs(whole, tmp_path):
    """Returns the folders of copied finished runs, and configs with which they go on."""
    found, longer = folders(tmp_path), [config(seed) for seed in SEEDS]
    for each in longer:
        each.train.epochs *= 2
    for ours, theirs in zip(found, whole, strict=True):
        shutil.copytree(theirs, ours, dirs_exist_ok=True)
    return found, longer


@pytest.mark.faults
def test_one_that_diverged_long_before_throws_no_other_back(whole, tmp_path):
    found, longer = copies_with_twice_the_epochs(whole, tmp_path)
    for each in longer:
        each.checkpoint.keep = 20
    Checkpoints(found[0] / "checkpoints").forget(6)  # as if it had diverged after step 6, with the others at 8
    population = Population(longer, found)
    population._meet()
    # one checkpoint: killed while it saved
    assert [int(member.state.step) for member in population.members] == [6, 6, 6]
    population.train(Preemption())
    Checkpoints(found[0] / "checkpoints").forget(12)
    for each in longer:
        each.train.epochs *= 2
    population = Population(longer, found)
    population._meet()
    assert [int(member.state.step) for member in population.members] == [12, 16, 16]


@pytest.mark.parametrize("how", ["diverged", "damaged"])
def test_members_lose_no_step_to_one_that_cannot_go_on_from_it(whole, tmp_path, how):
    """Seed 3 stopped in the interval before the checkpoint of the others, or what they would go back to is damaged."""
    found, longer = copies_with_twice_the_epochs(whole, tmp_path)
    for each in longer:
        each.train.log_every_steps = 1
    last = Checkpoints(found[0] / "checkpoints").steps()[-2]
    Checkpoints(found[0] / "checkpoints").forget(last)
    if how == "diverged":
        log = found[0] / "metrics.jsonl"
        log.write_text("".join(line for line in log.read_text().splitlines(True) if json.loads(line)["step"] <= last))
    else:
        for folder in found[1:]:
            for path in (folder / "checkpoints" / str(last)).rglob("*"):
                if path.is_file():
                    path.write_bytes(b"")
    population = Population(longer, found)
    before = [int(member.state.step) for member in population.members]
    population._meet()
    assert [int(member.state.step) for member in population.members] == before == [last, last + 2, last + 2]


@pytest.mark.faults
def test_one_that_diverges_costs_the_others_nothing(whole, tmp_path, monkeypatch):
    found, look = folders(tmp_path), divergence.check_losses

    def looks(rows, saved):
        if rows[0]["loss"] == lines(whole[1])[2]["loss"]:  # the second member's third step
            raise DivergedError("the loss is not finite")
        look(rows, saved)

    monkeypatch.setattr(divergence, "check_losses", looks)
    with pytest.raises(DivergedError, match=r"^seed 4: the loss is not finite$"):
        train_seeds.train([config(seed) for seed in SEEDS], tmp_path, False)
    assert [(f / "result.json").exists() for f in found] == [True, False, True]
    assert Checkpoints(found[1] / "checkpoints").steps() == [2]
    for ours, theirs in ((found[0], whole[0]), (found[2], whole[2])):
        assert lines(ours) == lines(theirs)


@pytest.mark.faults
@pytest.mark.parametrize("diverging", [{4}, set(SEEDS)])
def test_the_others_resume_past_those_that_diverge_again(tmp_path, monkeypatch, diverging):
    """A seed that has diverged stays behind, so that it is resumed by itself, and diverges again."""
    found, rows = folders(tmp_path), Run._list_rows

    def diverges(self, step, *rest):
        made = rows(self, step, *rest)
        made[-1]["loss"] = float("nan") if self.seed in diverging and step > 3 else made[-1]["loss"]
        return made

    monkeypatch.setattr(Run, "_list_rows", diverges)
    first = Population([config(seed) for seed in SEEDS], found)
    first.members[0].components.total = 5  # as if stopped there
    first.train(Preemption())
    for _ in range(2):
        with pytest.raises(DivergedError) as raised:
            train_seeds.train([config(seed) for seed in SEEDS], tmp_path, False)
        assert [line.split(":")[0] for line in str(raised.value).splitlines()] == [
            f"seed {s}" for s in sorted(diverging)
        ]
    assert [(f / "result.json").exists() for f in found] == [seed not in diverging for seed in SEEDS]


@pytest.mark.faults
def test_those_behind_come_up_to_the_others(tmp_path):
    """Members at different steps, as after adding seeds to a stopped run, resume; those behind catch up first."""
    found = folders(tmp_path)
    ahead = Run(config(SEEDS[0]), found[0])
    ahead.components.total = 5
    ahead.train(Preemption())
    whole = Population([config(seed) for seed in SEEDS], found)
    groups, train = [], whole._train
    whole._train = lambda group, stop, *rest: (
        groups.append(([m.seed for m in group], stop)),
        train(group, stop, *rest),
    )
    whole.train(Preemption())
    assert groups == [([4, 5], 5), ([3, 4, 5], STEPS)]
    assert all(
        m.done and [line["step"] for line in lines(m.workdir)] == list(range(1, STEPS + 1)) for m in whole.members
    )


def test_runs_that_share_no_data_are_refused():
    _, problems = validation.configs_of_seeds(ROOT / "configs/ablation.py:lecun320", [], 2)
    assert len(problems) == 1 and problems[0].startswith("--seeds: data.train_split follows the seed in this config")
    _, problems = validation.configs_of_seeds(ROOT / "configs/ablation.py:mnist10k", ["--config.data.loader=stream"], 2)
    assert len(problems) == 1 and "resident" in problems[0]
    configs, problems = validation.configs_of_seeds(ROOT / "configs/ablation.py:mnist10k", ["--config.train.seed=3"], 3)
    assert not problems and [c.train.seed for c in configs] == [3, 4, 5]


def test_a_program_compiled_after_a_training_is_right(whole):
    """With YNNPACK, jaxlib 0.12.0.1 compiles `distort` to a program with wrong pixels once the process has trained."""
    keys = pipeline.example_keys(3, jnp.zeros(64, jnp.int32), jnp.arange(64, dtype=jnp.int32))
    images = jnp.asarray(np.random.default_rng(0).uniform(0, 255, (64, 9, 9, 1)), jnp.float32)
    turn = functools.partial(device_ops.distort, translate=2, rotate=20)
    np.testing.assert_allclose(jax.jit(turn)(keys, images), turn(keys, images), atol=1e-2)
