"""Convolution by hand and learned: the lecture's edge filters on a photograph, and filters learned from edge maps.

    python -m experiments.edges              draws docs/edges.png and records 10 seeds in experiments/results.jsonl
    python -m experiments.edges --seeds=1

This is a demonstration, not a table of runs; `python run.py --mode=report` lists the recorded results. The filters are
the lecture's; the photograph is from scikit-learn. The learned filter is trained on CROPS crops of the photograph and
their edge maps. The edge maps have added Gaussian noise as strong as the edges themselves (NOISE, in standard
deviations of the map). Training is gradient descent with momentum on the mean squared error, from N(0, 0.1^2). The numbers, the
photograph and the noise are our own; there are no published results to compare with.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

from convnets.layers import Conv, normal
from convnets.layers.pooling import windows
from convnets.report import demonstration_plots, demonstrations

VERTICAL = np.array([[1, 0, -1]] * 3, np.float32)  # the lecture's filter: bright on the left, dark on the right
FILTERS = {"vertical edges": VERTICAL, "horizontal edges": VERTICAL.T}
CROPS, SIDE, NOISE = 16, 64, 1.0
STEPS, RATE, MOMENTUM = 400, 0.1, 0.9
SHOWN = (0, 5, 30, STEPS)  # steps at which the filter is drawn


def photograph() -> np.ndarray:
    """Returns the photograph in grey, [427, 640], values from 0 to 1."""
    from sklearn.datasets import load_sample_image

    return (load_sample_image("china.jpg") @ np.array([0.299, 0.587, 0.114]) / 255).astype(np.float32)


def convolve(image: np.ndarray, kernel: np.ndarray, stride: int = 1, padding: int = 0) -> np.ndarray:
    """Convolves [h, w] with [f, f] to [h', w'], using the `Conv` layer of all networks here."""
    layer = Conv(1, kernel.shape[0], stride, padding, bias="none")
    params = {"kernel": jnp.asarray(kernel)[:, :, None, None]}
    return np.asarray(layer.apply({"params": params}, jnp.asarray(image)[None, :, :, None]))[0, :, :, 0]


def side(n: int, f: int, padding: int, stride: int) -> int:
    """Returns the output side of a convolution by the lecture's formula: floor((n + 2p - f) / s) + 1."""
    return (n + 2 * padding - f) // stride + 1


def pairs(image: np.ndarray, kernel: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns CROPS crops of an image, [n, SIDE, SIDE, 1], and their noisy edge maps (valid, so two pixels smaller)."""
    rng = np.random.default_rng(seed)
    corners = [(rng.integers(image.shape[0] - SIDE), rng.integers(image.shape[1] - SIDE)) for _ in range(CROPS)]
    crops = np.stack([image[y : y + SIDE, x : x + SIDE] for y, x in corners])
    maps = np.stack([convolve(crop, kernel) for crop in crops])
    maps += NOISE * maps.std() * rng.standard_normal(maps.shape, np.float32)
    return crops[..., None], maps[..., None]


def learn(images: np.ndarray, maps: np.ndarray, seed: int, steps: int = STEPS) -> list[np.ndarray]:
    """Returns the filter before every step and after the last, [3, 3] each."""
    layer = Conv(1, 3, bias="none", kernel_init=normal(0.1))
    params = layer.init(jax.random.key(seed), images[:1])["params"]
    optimizer = optax.sgd(RATE, MOMENTUM)
    state = optimizer.init(params)

    @jax.jit
    def step(params, state):
        gradient = jax.grad(lambda p: jnp.mean(jnp.square(layer.apply({"params": p}, images) - maps)))(params)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), state

    found = [params["kernel"]]
    for _ in range(steps):
        params, state = step(params, state)
        found.append(params["kernel"])
    return [np.asarray(kernel)[:, :, 0, 0] for kernel in found]


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Returns the cosine similarity of two filters."""
    return float(np.vdot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b)))


def shown(image: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Returns the photograph and its filtered versions, each with a title that states its size."""
    found = [("photograph", image)]
    for name, (kernel, padding, stride) in {
        "vertical edges, valid": (VERTICAL, 0, 1), "horizontal edges, same": (VERTICAL.T, 1, 1),
        "vertical edges, stride 2": (VERTICAL, 0, 2),
    }.items():  # fmt: skip
        y = convolve(image, kernel, stride, padding)
        assert y.shape == tuple(side(n, 3, padding, stride) for n in image.shape)
        assert y.shape == windows((1, *image.shape, 1), 3, stride, padding, ceil=False)[0]
        found.append((name, y))
    return [(f"{name}: {x.shape[0]} x {x.shape[1]}", x) for name, x in found]


def main() -> None:
    seeds = demonstrations.read_arguments(__doc__, seeds=10).seeds
    image, entries, curves, learned = photograph(), [], {}, {}
    panels = shown(image)
    print("\n".join(title for title, _ in panels))
    for name, kernel in FILTERS.items():
        for seed in range(seeds):
            began = time.monotonic()
            images, maps = pairs(image, kernel, seed)
            found = learn(images, maps, seed)
            curve = [cosine(k, kernel) for k in found]
            entries.append(entry(name, seed, curve, time.monotonic() - began))
            print(f"{name}, seed {seed}: cosine similarity {curve[-1]:.5f}")
            if seed == 0:
                curves[name], learned[name] = curve, [(str(n), found[n]) for n in SHOWN]
                learned[name] += [("true", kernel)]
    demonstrations.keep(entries)
    with demonstrations.draw_into_docs("edges") as path:
        demonstration_plots.plot_edges(panels, (images[0, ..., 0], maps[0, ..., 0]), learned, curves, path)


def entry(name: str, seed: int, curve: list[float], seconds: float) -> dict:
    """Returns one entry of results.jsonl."""
    reached = next((n for n, c in enumerate(curve) if c >= 0.99), len(curve) - 1)
    metrics = {"cosine_similarity": round(curve[-1], 6), "steps_to_cosine(0.99)": reached}
    dataset = "scikit-learn: china.jpg"
    return demonstrations.entry("edges", name, seed, metrics, dataset=dataset, steps=STEPS, seconds=seconds)


if __name__ == "__main__":
    demonstrations.run(main)
