"""Convolution by hand and learned: the lecture's edge filters on a photograph, and a filter that learns from what one made.

    python -m experiments.edges              draws docs/edges.png and records 10 seeds in experiments/results.jsonl
    python -m experiments.edges --seeds=1

A demonstration, no table of runs: `python run.py --mode=report` lists what it recorded. The filters are the lecture's, the
photograph comes with scikit-learn. The learned filter sees CROPS pieces of the photograph and their edge maps, to which
Gaussian noise as strong as the edges themselves is added (NOISE, in standard deviations of the map), and goes down the
gradient of the mean squared error from N(0, 0.1^2). Ours are the numbers, the photograph and the noise; nobody's are to be
compared with them.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

from convnets.layers import Conv, normal
from convnets.layers.pooling import windows
from convnets.report import figures, results
from convnets.runtime import provenance

VERTICAL = np.array([[1, 0, -1]] * 3, np.float32)  # the lecture's: bright on the left, dark on the right
FILTERS = {"vertical edges": VERTICAL, "horizontal edges": VERTICAL.T}
CROPS, SIDE, NOISE = 16, 64, 1.0
STEPS, RATE, MOMENTUM = 400, 0.1, 0.9
SHOWN = (0, 5, 30, STEPS)  # steps whose filter is drawn


def photograph() -> np.ndarray:
    """Grey, [427, 640], from 0 to 1."""
    from sklearn.datasets import load_sample_image

    return (load_sample_image("china.jpg") @ np.array([0.299, 0.587, 0.114]) / 255).astype(np.float32)


def convolve(image: np.ndarray, kernel: np.ndarray, stride: int = 1, padding: int = 0) -> np.ndarray:
    """[h, w] with [f, f] to [h', w'], by the layer of all networks here."""
    layer = Conv(1, kernel.shape[0], stride, padding, bias="none")
    params = {"kernel": jnp.asarray(kernel)[:, :, None, None]}
    return np.asarray(layer.apply({"params": params}, jnp.asarray(image)[None, :, :, None]))[0, :, :, 0]


def side(n: int, f: int, padding: int, stride: int) -> int:
    """The lecture's summary of convolutions: floor((n + 2p - f) / s) + 1."""
    return (n + 2 * padding - f) // stride + 1


def pairs(image: np.ndarray, kernel: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """CROPS pieces of an image, [n, SIDE, SIDE, 1], and their noisy edge maps; valid, so two pixels smaller."""
    rng = np.random.default_rng(seed)
    corners = [(rng.integers(image.shape[0] - SIDE), rng.integers(image.shape[1] - SIDE)) for _ in range(CROPS)]
    crops = np.stack([image[y : y + SIDE, x : x + SIDE] for y, x in corners])
    maps = np.stack([convolve(crop, kernel) for crop in crops])
    maps += NOISE * maps.std() * rng.standard_normal(maps.shape, np.float32)
    return crops[..., None], maps[..., None]


def learn(images: np.ndarray, maps: np.ndarray, seed: int, steps: int = STEPS) -> list[np.ndarray]:
    """The filter before every step and after the last, [3, 3] each."""
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
    """Cosine of the angle between two filters."""
    return float(np.vdot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b)))


def shown(image: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """The photograph and what the filters make of it, each with its size."""
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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10, help="how many learn; 10 where it is not given")
    seeds = parser.parse_args().seeds
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
    path = results.ROOT / "docs" / "edges.png"
    figures.plot_edges(panels, (images[0, ..., 0], maps[0, ..., 0]), learned, curves, path)
    print(f"drawn: {path.relative_to(results.ROOT)}")
    if "+" in provenance.commit():
        print("not recorded: the code is not committed")
    else:
        print(f"{results.keep_results(entries)} new results recorded; python run.py --mode=report lists them")


def entry(name: str, seed: int, curve: list[float], seconds: float) -> dict:
    """A line of results.jsonl."""
    reached = next((n for n, c in enumerate(curve) if c >= 0.99), len(curve) - 1)
    device = jax.devices()[0]
    return {
        "config": "experiments/edges.py", "overrides": [name], "command": f"python -m experiments.edges --seeds={seed + 1}",
        "dataset": "scikit-learn: china.jpg", "protocol": f"{name}, seed {seed}", "seed": seed, "steps": STEPS,
        "seconds": round(seconds, 2), "commit": provenance.commit(), "versions": provenance.versions(),
        "device": {"kind": device.device_kind, "count": 1},
        "metrics": {"cosine_similarity": round(curve[-1], 6), "steps_to_cosine(0.99)": reached},
    }  # fmt: skip


if __name__ == "__main__":
    main()
