"""Training runs in this process: error feedback, weight averaging, and that stopping changes neither."""

import json
import shutil
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import base
from convnets import models
from convnets.config import load_config
from convnets.data import dataset
from convnets.errors import CheckpointError, Preempted, UsageError
from convnets.evaluation.evaluator import Evaluator
from convnets.models.pretrained import weights
from convnets.models.summary import variable_shapes
from convnets.runtime import parallel
from convnets.runtime.arrays import name_leaves
from convnets.runtime.preemption import Preemption
from convnets.training import train_step, validation
from convnets.training.checkpoint import Checkpoints
from convnets.training.components import Components
from convnets.training.optimizer import make_recipe
from convnets.training.schedules import Errors, parse_feedback
from convnets.training.state import TrainState, create_state
from convnets.training.train_loop import train_in_memory
from convnets.training.trainer import Run
from tests.conftest import ROOT, filled

STEPS = 16


def config(steps=STEPS, **optimizer):
    """Returns a config of LeNet on scikit-learn's digits: a test about every third step, a checkpoint every second."""
    config, problems = load_config(ROOT / "configs/lenet.py:modern", [])
    assert not problems
    config.data.update(name="digits", train_ops="decode|resize(32)", test_ops="decode|resize(32)")
    config.optim.update({"lr": 1e-5, "schedule": "constant", **optimizer})  # low, since pixels are 0 to 255
    config.train.update(epochs=steps * 48 / 1437, batch_size=48, eval_every_epochs=0.1, log_every_steps=5)
    config.checkpoint.update(every_steps=2, keep=20)
    return config


def run(config, workdir):
    workdir.mkdir(exist_ok=True)
    done = Run(config, workdir)
    done.train(Preemption())
    return done


def saved(workdir, step) -> dict[str, np.ndarray]:
    with Checkpoints(workdir)._open() as files:
        return files.load(step)


REACTING = {"schedule": "until_error(0.1, 85, 4)|plateau(0.5, 1, 3)", "average": "ema(0.8)", "max_norm": 3.0}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Returns an uninterrupted run with feedback, averaging and max norm, and its workdir."""
    workdir = tmp_path_factory.mktemp("whole")
    return run(config(**REACTING), workdir), workdir


def test_training_in_memory_is_a_run_without_a_workdir(tmp_path):
    seen = {}
    given = config(3, average="ema(0.8)")
    model = models.create(**given.model)
    begun = create_state(model, optax.identity(), 7).variables
    given.model.init_from = str(tmp_path / "begun.safetensors")
    weights.save(given.model.init_from, given.model.name, begun, own_names=True, model=model)
    components = Components(given)
    trained = train_in_memory(components, lambda step, variables: seen.update({step: jax.device_get(variables)}), (2,))
    whole = run(components.config, tmp_path / "run")
    jax.tree.map(np.testing.assert_array_equal, trained, whole.state.variables)
    assert list(seen) == [0, 2]
    jax.tree.map(np.testing.assert_array_equal, seen[0]["params"], begun["params"])
    assert not np.array_equal(seen[0]["params"]["C1"]["kernel"], seen[2]["params"]["C1"]["kernel"])


def lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_the_rate_follows_the_logged_errors(whole):
    """Every logged learning rate follows, by definition, from the errors logged before its dispatch."""
    _, workdir = whole
    rows = lines(workdir)
    visits = [0, *(s for s in range(1, STEPS + 1) if s % 5 == 0 or s % 2 == 0 or "test_error" in rows[s - 1])]
    react = parse_feedback(REACTING["schedule"])
    for row in rows:
        seen = rows[: max(v for v in visits if v < row["step"])]
        errors = Errors([r["error"] for r in seen], [r["test_error"] for r in seen if "test_error" in r])
        assert row["lr"] == pytest.approx(1e-5 * react(errors), rel=1e-6), row["step"]
    assert len({row["lr"] for row in rows}) >= 3


@pytest.mark.parametrize("stop", [5, 12])
def test_stopped_and_resumed_is_never_stopped(whole, tmp_path, monkeypatch, stop):
    visit = Run.on_event

    def dies(self, step, *rest):
        if step > stop:
            raise KeyboardInterrupt
        return visit(self, step, *rest)

    monkeypatch.setattr(Run, "on_event", dies)
    with pytest.raises(KeyboardInterrupt):
        run(config(**REACTING), tmp_path)
    monkeypatch.setattr(Run, "on_event", visit)
    assert Checkpoints(tmp_path / "checkpoints").steps()[-1] == stop // 2 * 2
    again = run(config(**REACTING), tmp_path)
    for (name, a), b in zip(name_leaves(again.state).items(), name_leaves(whole[0].state).values(), strict=True):
        assert np.array_equal(a, b), name
    assert (tmp_path / "metrics.jsonl").read_text() == (whole[1] / "metrics.jsonl").read_text()
    assert float(again.state.scale) < 1


def test_preempted_between_events_and_resumed_is_never_stopped(tmp_path):
    """The rate changes after the steps at which an uninterrupted run looks at its errors, and after no others."""

    def reacting():
        made = config(24, schedule="until_error(0.1, 101, 4)")  # below after four steps; looked at after ten
        made.train.log_every_steps, made.train.eval_every_epochs, made.checkpoint.every_steps = 10, 0.0, 1000
        return made

    class Preempts(Preemption):
        def should_stop(self, step):
            self.noted = time.monotonic() if step == 7 else self.noted
            return step == 7

    (tmp_path / "stopped").mkdir()
    whole, begun = run(reacting(), tmp_path / "whole"), Run(reacting(), tmp_path / "stopped")
    with pytest.raises(Preempted):
        begun.train(Preempts())
    assert int(begun.state.step) == 7
    again = run(reacting(), tmp_path / "stopped")
    assert (tmp_path / "stopped" / "metrics.jsonl").read_text() == (tmp_path / "whole" / "metrics.jsonl").read_text()
    assert [round(row["lr"] / 1e-5, 3) for row in lines(tmp_path / "whole")] == [0.1] * 10 + [1.0] * 14
    assert all(np.array_equal(a, b) for a, b in zip(*(jax.tree.leaves(r.state) for r in (whole, again)), strict=True))


def test_what_is_wrong_with_a_recipe_is_a_line_each():
    wrong = config(schedule="plateau(0.1, 0, 3)", average="emma(0.9)", max_norm=-1.0, lr_batch=-256)
    found = validation.problems(wrong)
    for start in ("optim.schedule: plateau: patience is 0", "optim.average: unknown operation 'emma'",
                  "optim.max_norm is -1.0", "optim.lr_batch is -256"):  # fmt: skip
        assert [line for line in found if line.startswith(start)], start
    blind = config(schedule="plateau(0.1, 1, 3)")
    blind.train.eval_every_epochs = 0.0
    assert any("the plateau of optim.schedule needs tests on the way" in line for line in validation.problems(blind))


def test_another_batch_size_does_not_jump_the_epoch_in_silence(tmp_path):
    short = config(steps=4)
    saved = Run(short, tmp_path)
    saved.earlier, saved.began = 0.0, time.monotonic()
    saved._save(saved.state.replace(step=jnp.int32(4)))
    assert Run(short, tmp_path).notes == []
    short.train.batch_size = 24
    (line,) = Run(short, tmp_path).notes
    assert line.startswith(
        "step 4 was epoch 0.13 when it was saved and is epoch 0.07 now, because train.batch_size or "
    )
    short.train.batch_size, short.optim.schedule = 48, "cosine(3)"
    assert Run(short, tmp_path).notes[0].startswith("cosine(3) of optim.schedule changes the rate until epoch 3")


def test_a_run_that_ends_before_its_first_curvature_says_so(tmp_path):
    short = config(steps=4)
    short.optim.damping, short.loss = 0.02, "sse"
    (line,) = Run(short, tmp_path).notes
    assert line.startswith("optim.damping: no parameter changes in the first 11 steps")


@pytest.mark.parametrize(
    "content, message", [(b"", "cannot be read"), (b"PK\x03\x04", "cannot be read"), (None, "is no file")]
)
@pytest.mark.parametrize("layers", ["", "!fc*"])
def test_weights_are_read_before_the_data(tmp_path, monkeypatch, content, message, layers):
    """A pass over ImageNet for its statistics, or decoding it, must not precede what a wrong file says."""
    monkeypatch.setattr(dataset, "load_splits", lambda **_: pytest.fail("the data were loaded first"))
    file = tmp_path / "a.pth"
    if content is not None:
        file.write_bytes(content)
    wrong = config()
    wrong.model.update(init_from=str(file), init_layers=layers)
    with pytest.raises(CheckpointError, match=f"{file} {message}"):
        Run(wrong, tmp_path)


def test_some_layers_of_a_file_are_the_first_weights(tmp_path):
    short = config(steps=1, average="ema(0.8)")
    fresh, file = Run(short, tmp_path), tmp_path / "a.safetensors"
    given = jax.tree.map(lambda v: np.full(v.shape, 0.5, np.float32), fresh.state.variables)
    weights.save(file, short.model.name, given, own_names=True)
    short.model.update(init_from=str(file), init_layers="!C*")
    state = Run(short, tmp_path).state
    for layer, values in state.params.items():
        for name, value in values.items():
            wanted = fresh.state.params[layer][name] if layer.startswith("C") else 0.5
            assert np.array_equal(value, np.broadcast_to(wanted, value.shape)), (layer, name)
            assert np.array_equal(value, state.average[layer][name])
    run = Run(short, tmp_path)
    run.train(Preemption())  # a step donates the parameters and their average: they are not the same arrays
    assert run.done


@pytest.mark.parametrize("leaf, value, message", [
    ("decay_multipliers", "conv9/kernel", "'conv9/kernel' fits no parameter"),
    ("lr_multipliers", "*, F7/*=2", "'F7/[*]' fits no parameter"),
    ("max_norm", 3.0, "the kernel of a connection table"),
])  # fmt: skip
def test_a_recipe_that_fits_no_layer_is_refused_before_the_data(tmp_path, monkeypatch, leaf, value, message):
    """Found when the step compiles, it would come after config.json, and the mended command would be refused."""
    monkeypatch.setattr(dataset, "load_splits", lambda **_: pytest.fail("the data were loaded first"))
    wrong = config()
    wrong.model.name = "lenet5"
    wrong.optim.update({"weight_decay": 0.1, leaf: value})
    with pytest.raises(UsageError, match=message):
        Run(wrong, tmp_path)


def test_a_rate_that_a_schedule_lowered_is_whole_again_without_it(whole, tmp_path):
    _, workdir = whole
    shutil.copytree(workdir, tmp_path / "run")
    assert float(Run(config(2 * STEPS, **REACTING), tmp_path / "run").state.scale) < 1
    assert float(Run(config(2 * STEPS, average="ema(0.8)", max_norm=3.0), tmp_path / "run").state.scale) == 1


def test_a_schedule_that_looks_back_needs_the_log(whole, tmp_path):
    done = Run(config(**REACTING), whole[1])
    done.workdir = tmp_path
    with pytest.raises(CheckpointError, match=f"holds 0 of the {STEPS} steps"):
        done.train(Preemption())


@pytest.mark.parametrize("protocol, passes", [("single", 0), ("ten_crop", 1)])
def test_the_last_test_is_not_repeated(tmp_path, monkeypatch, protocol, passes):
    """The test after the last step is the final one, unless evaluate.protocol is another."""
    tiny = config(steps=3)
    tiny.evaluate.protocol, tiny.data.test_ops = protocol, "decode|resize(40)|center(32)"
    done = run(tiny, tmp_path)
    counted = []
    run_pass = Evaluator._run_pass
    monkeypatch.setattr(Evaluator, "_run_pass", lambda *given: counted.append(1) or run_pass(*given))
    result, tested = done.test()
    assert len(counted) == passes and result["num_examples"] == len(tested.labels) == len(tested.scores)
    assert result["top1_error"] == tested.summary["top1_error"]


def test_the_average_is_numpys_and_is_what_is_tested(tmp_path):
    every = config(steps=5, average="polyak(0)")
    every.checkpoint.every_steps = 1
    done = run(every, tmp_path)
    kept = [saved(tmp_path / "checkpoints", s) for s in range(1, 6)]
    for name in (k for k in kept[0] if k.startswith("params/")):
        mean = np.mean([k[name] for k in kept], axis=0, dtype=np.float64)
        np.testing.assert_allclose(kept[-1][name.replace("params", "average")], mean, rtol=1e-5, atol=1e-6)
    tested = done.components.evaluator(parallel.replicate(done.state.variables)).summary
    plain = done.components.evaluator(parallel.replicate(done.state.replace(average={}).variables)).summary
    assert tested["loss"] != plain["loss"] and lines(tmp_path)[-1]["test_loss"] == tested["loss"]


# Input sides at which a training step is cheap enough to run; the other networks are only traced.
RUN = {"lenet5": 32, "cuda_convnet_18pct": 32, "resnet20_cifar": 32}


@pytest.mark.parametrize("name", [*RUN, "alexnet", "vgg_a", "googlenet", "bn_inception"])
def test_bfloat16_is_one_leaf(name):
    """Parameters, statistics and velocities stay float32 in a bfloat16 training step, and stay finite."""
    model = models.create(name, 10, "bfloat16")
    recipe = make_recipe(**base.get_config().optim, steps_per_epoch=1.0, batch_size=2)
    side, _, channels = model.input_shape if name not in RUN else (RUN[name], 0, model.input_shape[2])
    variables = variable_shapes(model, (side, side, channels))

    def begin_and_step(variables, images):
        params, statistics = variables["params"], variables.get("batch_stats", {})
        before = TrainState(jnp.int32(0), jnp.float32(1), params, statistics, recipe.optimizer.init(params), {})
        labels = jnp.array([3, 5])
        batch = {"image": images, "label": labels, "mask": jnp.ones(2), "index": labels, "epoch": labels}
        after, sums = train_step.train_step(model, recipe.optimizer, "softmax", [], 0)(before, batch, {})
        return before, after, sums["loss"]

    images = np.random.default_rng(0).integers(0, 2, (1, 2, side, side, channels), np.uint8)
    on_one_device = jax.vmap(begin_and_step, in_axes=(None, 0), axis_name=parallel.AXIS)
    if name in RUN:
        before, after, loss = jax.jit(on_one_device)(filled(variables), images)
        assert np.isfinite(loss).all() and all(np.isfinite(v).all() for v in jax.tree.leaves(after))
    else:
        before, after, _ = jax.eval_shape(on_one_device, variables, images)
    for (key, old), new in zip(name_leaves(before).items(), name_leaves(after).values(), strict=True):
        assert new.dtype == old.dtype and old.dtype in (np.float32, np.int32), key
