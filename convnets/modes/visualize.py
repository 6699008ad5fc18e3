"""--mode=visualize: plots what a network has learned into WORKDIR/inside, with the numbers in inside.json.

filters.png     filters of the first layer
gabors.png      Gabor functions fitted to these filters, if they are at least 5 x 5
units-*.png     images that excite the first channels of a low, a middle and a high layer most, with receptive fields
maps.png        feature maps of the layers for one image
occlusion.png   score of the image's class while a grey square occludes a part of the image
statistics.png  mean and standard deviation of every channel, and dead inputs, against depth
"""

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from ml_collections import ConfigDict

from convnets.analysis import activations, gabor, network_plots, run_plots
from convnets.augment import pipeline
from convnets.data import dataset, image_files, sampler
from convnets.errors import UsageError
from convnets.losses import NO_PROBABILITIES
from convnets.models.summary import LayerSummary, capture, summarize
from convnets.modes import evaluate
from convnets.modes.output import short_names
from convnets.op_string import Call
from convnets.runtime import drawing, files, provenance
from convnets.training.network import load_facts, open_network, open_test_split

EXAMPLES = 2000  # number of test images for the statistics, from the first on
CHANNELS, BEST = 8, 6  # channels shown per layer, and images shown per channel
FITTED, NOISE = 128, 24  # maximum number of fitted filters, and number of noise filters
LAYERS = 12  # maximum number of layers with plotted feature maps

# The name of a figure's file, and what draws it there. Figures are drawn after all numbers are written.
Figure = tuple[str, Callable[[Path], None]]


class Subject(NamedTuple):
    """The network to visualize and its test data.

    Attributes:
        ops: device operations for test images.
        split: the test images; None if there are only image files.
        layers: the layers that run in evaluation mode.
    """

    name: str
    loss: str
    model: nn.Module
    variables: Any
    ops: list[Call]
    split: dataset.Split | None
    layers: list[LayerSummary]


def visualize(
    config: ConfigDict, workdir: Path, file: str, images: Sequence[str], invert: bool, out: Path | None = None
) -> dict[str, Any]:
    """Plots all figures for a run's newest checkpoint, or for a weights file; returns the content of inside.json.

    Args:
        file: weights file. With `images` it needs no data set, and figures over test images are left out.
        images: one image file for maps and occlusion, in place of the first test image; or empty.
        invert: inverts the brightness of the image file.
        out: the folder to draw into, in place of the workdir.
    """
    subject, step = _subject(config, workdir, file, not (file and images))
    folder = (out or workdir) / "inside"
    folder.mkdir(parents=True, exist_ok=True)
    title = subject.name + (f" on {subject.split.info.name}" if subject.split else "")
    found: dict[str, Any] = {"model": subject.name, "weights": file, "step": step, "commit": provenance.commit()}
    figures: list[Figure] = []
    found |= _filters(subject, title, figures)
    if subject.split:
        found |= _collect_units(subject, title, figures)
    facts = load_facts(workdir, subject.model, subject.split, file)
    found |= _picture(config, subject, facts, images, invert, title, figures)
    files.write_json(folder / "inside.json", found)
    for name, draw in figures:
        with drawing.guard(folder / name):
            draw(folder / name)
    print(f"written to {folder}:\n  " + "  ".join(sorted(p.name for p in folder.iterdir())))
    return found


def compare(members: Sequence[Path], overrides: list[str], out: Path) -> None:
    """Visualizes several runs, and plots their statistics side by side into OUT/inside.

    A run in a read-only folder is drawn into OUT/NUMBER-NAME.
    """
    names = short_names(members)
    configs = [evaluate.load_run_config(workdir, overrides) for workdir in members]
    drawn = [None if os.access(m, os.W_OK) else out / f"{n}-{m.name}" for n, m in enumerate(members)]
    found = [visualize(c, m, "", [], False, to) for c, m, to in zip(configs, members, drawn, strict=True)]
    together = {name: each["statistics"] for name, each in zip(names, found, strict=True)}
    folder = out / "inside"
    folder.mkdir(parents=True, exist_ok=True)
    files.write_json(folder / "inside.json", {"statistics": together})
    with drawing.guard(folder / "statistics.png"):
        network_plots.plot_statistics(together, folder / "statistics.png", "statistics by layer")
    print(f"written to {folder}:\n  " + "  ".join(sorted(p.name for p in folder.iterdir())))


def _subject(config: ConfigDict, workdir: Path, file: str, with_data: bool) -> tuple[Subject, int]:
    name = config.model.name
    model, variables, step, _ = open_network(config, workdir, file)
    split = open_test_split(config, model, workdir) if with_data else None
    ops = split.device_ops if split else image_files.operations(config.data.test_ops, workdir)
    image = jax.ShapeDtypeStruct((1, *model.input_shape), np.float32)
    run_ones = jax.eval_shape(functools.partial(capture, model), variables, image)
    layers = [r for r in summarize(model) if r.name in run_ones]
    return Subject(name, config.loss, model, variables, ops, split, layers), step


# Numbers, and what draws their figures -------------------------------------------------------------------------------


def _filters(subject: Subject, title: str, figures: list[Figure]) -> dict[str, Any]:
    first = activations.first_filters(subject.model, subject.variables, subject.layers)
    if first is None:
        return {}
    name, kernel = first
    kernel = kernel[..., :FITTED]
    figures.append(("filters.png", lambda path: run_plots.plot_filters(kernel, path, f"{title}: filters of {name}")))
    if min(kernel.shape[:2]) < gabor.SMALLEST:
        size = " x ".join(map(str, kernel.shape[:2]))
        print(f"filters of {name} are {size}: too small to tell a Gabor function from anything else")
        return {"filters": {"layer": name, "gabors": []}}
    projected, shares = gabor.project_on_colour_axis(kernel)
    fits = [gabor.fit(f) for f in projected]
    chance = gabor.fit_noise(projected.shape[1:], NOISE)
    plot = network_plots.plot_gabors
    figures.append(("gabors.png", lambda path: plot(projected, fits, chance, path, f"{title}: {name}")))
    middle, by_chance = (float(np.median(v)) for v in ([f.explained for f in fits], chance))
    print(f"filters of {name}: a Gabor function explains {middle:.0%} of the median filter, {by_chance:.0%} of noise;"
          f" {sum(f.striped for f in fits)} of {len(fits)} have stripes")  # fmt: skip
    gabors = [
        {k: v for k, v in f._asdict().items() if k != "values"} | {"striped": f.striped, "colour_axis": share}
        for f, share in zip(fits, shares.tolist(), strict=True)
    ]
    return {"filters": {"layer": name, "gabors": _short(gabors), "noise_explained": _short(chance.tolist())}}


def _collect_units(subject: Subject, title: str, figures: list[Figure]) -> dict[str, Any]:
    split = subject.split
    assert split
    count = min(split.info.num_examples, EXAMPLES)
    print(f"{count:,} images of {split.info.split} through {len(subject.layers)} layers", flush=True)
    pixels = int(np.prod(subject.model.input_shape[:2]))
    batch = min(max(400 * 32 * 32 // pixels, 1), 200, count)
    found = activations.collect_statistics(subject.model, subject.variables, _inputs(split, count, batch))
    lines = activations.tabulate_statistics(subject.layers, found)
    plot = network_plots.plot_statistics
    if lines:  # else no layer has weights that SGD learns
        figures.append(("statistics.png", lambda path: plot({subject.name: lines}, path, title)))
    units = []
    for level, layer in zip(("low", "middle", "high"), activations.choose_layers(subject.layers), strict=False):
        measured = found[layer.name]
        rows = []
        for channel in range(min(CHANNELS, measured.max_value.shape[1])):
            indices = activations.find_strongest_images(measured, channel, BEST)
            boxes = [activations.locate_receptive_field(layer, measured.max_position[i, channel]) for i in indices]
            rows.append({"channel": channel, "images": indices.tolist(), "squares": boxes,
                         "peaks": measured.max_value[indices, channel].tolist()})  # fmt: skip
        heading = f"{title}: what excites channels of {layer.name} most"
        figures.append((f"units-{level}.png", functools.partial(_draw_units, split, rows, heading)))
        units.append({"level": level, "layer": layer.name, "receptive_field": layer.receptive_field, "rows": rows})
    return {"split": split.info.split, "examples": count, "units": _short(units), "statistics": _short(lines)}


def _draw_units(split: dataset.Split, rows: list[dict[str, Any]], title: str, path: Path) -> None:
    wanted = sorted({i for row in rows for i in row["images"]})
    shown = dict(zip(wanted, _pick(split, wanted), strict=True))
    drawn = [(r["channel"], [(shown[i], s) for i, s in zip(r["images"], r["squares"], strict=True)]) for r in rows]
    network_plots.plot_units(drawn, path, title)


def _picture(
    config: ConfigDict, subject: Subject, facts: dict[str, Any], images: Sequence[str], invert: bool, title: str,
    figures: list[Figure],
) -> dict[str, Any]:  # fmt: skip
    """Returns the numbers of one image's occlusion map; its feature maps are a figure."""
    shape = subject.model.input_shape
    if images:
        pixels = image_files.read(images, facts, config.data.test_ops, invert)
        image, what = np.asarray(pipeline.apply(subject.ops, None, pixels)), files.escape_unprintable(Path(images[0]).name)  # fmt: skip
        if image.shape[1:] != shape:
            raise UsageError(
                f"data.test_ops gives images of {image.shape[1:]} of {images[0]}, model {subject.name} takes {shape}"
            )
    else:
        assert subject.split
        image, what = _pick(subject.split, [0]), "the first test image"
    score = activations.make_scorer(subject.model, subject.variables, subject.loss)
    whole = score(image)[0]
    guess = int(np.argmax(whole))
    name = facts["label_names"][guess]
    found = jax.jit(functools.partial(capture, subject.model))(subject.variables, image)
    drawn = [r for r in subject.layers if len(r.output) == 3 and max(r.output[:2]) > 1]
    drawn = [drawn[i] for i in np.unique(np.linspace(0, len(drawn) - 1, LAYERS).astype(int))] if drawn else []
    if drawn:
        maps = [(r.name, np.asarray(found[r.name][1][0])) for r in drawn]
        taken = f"{title}: {what}, taken for {name}"
        figures.append(("maps.png", lambda path: network_plots.plot_maps(image[0], maps, path, taken)))
    side, stride = (max(min(shape[:2]) // n, 1) for n in (4, 16))
    occlusion = activations.occlude(lambda v: score(v)[:, guess], image[0], side, stride)
    quantity = "output" if subject.loss in NO_PROBABILITIES else "probability"
    figures.append(("occlusion.png", lambda path: network_plots.plot_occlusion(
        image[0], occlusion, float(whole[guess]), path, f"{title}: {what}", f"{quantity} of {name}",
        (0.0, 1.0) if quantity == "probability" else None)))  # fmt: skip
    lowest = float(occlusion.values.min())
    print(
        f"{what} is taken for {name}: {quantity} {whole[guess]:.3g}; the lowest with a grey square of {side} x {side} pixels over"
        f" a part of it: {lowest:.3g}"
    )
    return {"image": {"name": what, "guess": name, quantity: _short(float(whole[guess])), "occluded": _short(
        {"side": side, "rows": occlusion.centres[0].tolist(), "columns": occlusion.centres[1].tolist(),
         "values": occlusion.values.tolist()})}}  # fmt: skip


# Preprocessed test images -------------------------------------------------------------------------------------------


def _inputs(split: dataset.Split, count: int, batch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for found in split.feed(sampler.evaluation_schedule(count, batch)):
        images = split.resident_arrays["images"][found["index"]] if split.resident_arrays else found["image"]
        yield np.asarray(pipeline.apply(split.device_ops, None, images)), found["mask"]


def _pick(split: dataset.Split, indices: Sequence[int]) -> np.ndarray:
    return np.asarray(pipeline.apply(split.device_ops, None, split.images(np.array(indices))))


def _short(value: Any) -> Any:
    """Rounds all floats in nested dicts and lists to six significant digits."""
    if isinstance(value, dict):
        return {k: _short(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_short(v) for v in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value
