"""Figures of a finished run: curves, filters, confusion matrix, mistakes, answers."""

from pathlib import Path

import numpy as np

from convnets.analysis import run_plots
from convnets.augment import pipeline
from convnets.evaluation.evaluator import Evaluated
from convnets.models.summary import capture, summarize
from convnets.runtime import files
from convnets.training.trainer import Run

FILTERS = {"Conv": "kernel", "SCells": "a"}  # layer kind -> parameter that holds the filters of a first layer


def draw_run_figures(run: Run, tested: Evaluated) -> list[Path]:
    """Draws the figures of a finished run into its workdir and returns the paths of those that exist."""
    info = run.test_split.info
    labels, guesses = tested.labels, np.argmax(tested.scores, axis=1)
    wrong = np.flatnonzero(guesses != labels)
    title = f"{run.config.model.name} on {info.name}"
    names = ("curves.png", "filters.png", "confusion.png", "mistakes.png", "answers.png")
    paths = [run.workdir / name for name in names]
    run_plots.plot_curves(files.read_lines(run.workdir / "metrics.jsonl"), paths[0], title)
    first = next(r for r in summarize(run.model, run.model.input_shape) if r.parameters)
    kernel = run.state.variables["params"]
    for part in first.name.split("/"):
        kernel = kernel[part]
    if first.kind in FILTERS:
        run_plots.plot_filters(np.asarray(kernel[FILTERS[first.kind]]), paths[1], f"{title}: filters of {first.name}")
    error = f"{len(wrong)} of {len(labels)} wrong"
    run_plots.plot_confusion(labels, guesses, info.label_names, paths[2], f"{title}: {error}")
    shown = wrong[:100]
    images = run.test_split.images(shown)
    title = f"{title}: {error}, truth > guess"
    run_plots.plot_mistakes(images, labels[shown], guesses[shown], info.label_names, paths[3], title)
    if layer := getattr(run.model, "answers", ""):
        some = np.sort(np.concatenate([np.flatnonzero(labels == i)[:10] for i in range(info.num_classes)]))
        images = run.test_split.images(some)
        pixels = pipeline.apply(run.test_split.device_ops, None, images)
        outputs = np.asarray(capture(run.model, run.state.variables, pixels)[layer][1])[:, 0, 0]
        run_plots.plot_answers(
            images, outputs, labels[some], info.label_names, paths[4], f"{info.name}: answers of {layer}"
        )
    return [path for path in paths if path.exists()]
