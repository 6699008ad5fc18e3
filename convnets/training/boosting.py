"""Boosting of three networks: Drucker, Schapire, Simard 1993, as in LeCun et al. 1998, section III.C.

The first network is trained as usual. The second is trained on examples of which the first misclassifies one half. The
third is trained on new examples, on which the first two disagree. The outputs are added (`models.lenet.Boosted`).

The examples are picked from POOL passes over the training set, augmented anew in each; the paper picks them from a fixed set of
60,000 images and 540,000 distortions of them. An augmented image is a pure function of (seed, epoch, example), so what
is picked is a list of pairs (epoch, example). Each network goes over its own list for `train.epochs` passes.

Each network is a run of its own, in the folders net1, net2 and net3 of the workdir, with its own seed. It is resumed
like any run. The same examples are picked again then, because they are a function of the networks before.
"""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from convnets.data import sampler
from convnets.errors import UsageError
from convnets.evaluation import eval_step
from convnets.models.lenet import Boosted
from convnets.runtime import files, parallel
from convnets.runtime.preemption import Preemption
from convnets.training import metric_log
from convnets.training.components import Components
from convnets.training.trainer import Run
from convnets.training.validation import BOOSTED

POOL = 10  # passes over the training set from which examples are picked
LOOK = 1000  # images per step while examples are picked


def train_boosted(run: Run, preemption: Preemption, step_timeout: float = 0) -> None:
    """Trains the networks of a boosted model one after the other, and puts them together as the state of `run`.

    Raises:
        UsageError: the networks before make too few mistakes for a batch.
        Preempted: training stopped early, at a saved step.
    """
    members: list[Run] = []
    for n in range(Boosted.count):
        folder, config = run.workdir / f"net{n + 1}", member_config(run.config, n)
        folder.mkdir(exist_ok=True)
        picked = pick_examples(members, config) if members else None
        components = Components(config, bool(list((folder / "checkpoints").glob("*"))), picked)
        member = Run(config, folder, components)
        print(f"network {n + 1}: {components.examples:,} examples, {components.total:,} steps", flush=True)
        if not member.done:
            member.train(preemption, step_timeout)
        members.append(member)
    params = {f"net{n}": jax.device_get(m.state.variables["params"]) for n, m in enumerate(members, 1)}
    steps = np.int32(sum(int(m.state.step) for m in members))
    run.state = run.state.replace(step=steps, params=params, average=params if run.state.average else {})
    run.seconds = sum(member.seconds for member in members)
    _join_logs(run, members)
    run.checkpoints.save(run.state, seconds=run.seconds)


def _join_logs(run: Run, members: list[Run]) -> None:
    """Writes the lines of the networks' logs to the log of `run`, as if one had followed the other."""
    step, epoch, rows = 0, 0.0, []
    for member in members:
        lines = files.read_lines(member.workdir / "metrics.jsonl")
        rows += [{**line, "step": step + line["step"], "epoch": epoch + line["epoch"]} for line in lines]
        step, epoch = step + int(member.state.step), epoch + member.config.train.epochs
    log = metric_log.Metrics(run.workdir, 0)
    log.write(rows)
    log.close()


def member_config(config: ConfigDict, n: int) -> ConfigDict:
    """Returns the config of network n, 0 to 2: of the single network, with a seed that no other run of boosting has."""
    own = ConfigDict(config.to_dict())
    own.model.name = config.model.name.removesuffix(BOOSTED)
    own.train.seed = Boosted.count * config.train.seed + n
    return own


def pick_examples(before: list[Run], config: ConfigDict) -> np.ndarray:
    """Returns the training examples of the second or third network, int32 [n, 2]: (epoch, index).

    Args:
        before: the runs of the networks before it.
        config: the config of the network; its seed augments the examples.
    """
    parts = list(_guess(before, config))
    places, guesses, labels = (np.concatenate([part[i] for part in parts]) for i in range(3))
    wrong = guesses[:, 0] != labels
    if len(before) == 1:
        draw = np.random.Generator(np.random.Philox(key=[config.train.seed, 0]))
        each = [draw.permutation(np.flatnonzero(part)) for part in (~wrong, wrong)]
        half = min(map(len, each))
        chosen = np.sort(np.concatenate([part[:half] for part in each]))
    else:
        chosen = np.flatnonzero(guesses[:, 0] != guesses[:, 1])
    said = f"{100 * wrong.mean():.2f} % of {len(labels):,} examples are misclassified by the first network"
    if len(chosen) < config.train.batch_size:
        raise UsageError(f"boosting: {said}: too few to train another network")
    print(f"{said}; {len(chosen):,} are picked", flush=True)
    return places[chosen]


def _guess(before: list[Run], config: ConfigDict) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yields (places [n, 2], classes that the networks give [n, networks], labels [n]) for batches of the pool."""
    first, seed = before[0].components, config.train.seed
    model, split = first.model, first.train_split

    def guess(variables: list[dict[str, Any]], images: jax.Array) -> jax.Array:
        guesses = [jnp.argmax(jnp.asarray(model.apply(own, images, train=False)), axis=1) for own in variables]
        return jnp.stack(guesses, axis=1)

    look = parallel.parallel(eval_step.forward_step(guess, split.device_ops, seed), train=False)
    variables = parallel.replicate([run.state.variables for run in before])
    resident_arrays = first.resident_arrays()
    n, devices = split.info.num_examples, jax.local_device_count()
    size = -(-min(LOOK, n) // devices) * devices
    for batch in split.feed(sampler.training_schedule(n, size, seed, 0, max(POOL * n // size, 1)), seed):
        guesses, labels = jax.device_get(look(variables, parallel.shard([batch], devices), resident_arrays)[1])
        places = np.stack([batch["epoch"], batch["index"]], axis=1)
        yield places, guesses.reshape(len(places), -1), labels.reshape(-1)
