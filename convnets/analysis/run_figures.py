"""Figures of a finished run: curves, filters, confusion matrix, mistakes, answers."""

from pathlib import Path

import numpy as np

from convnets.analysis import activations, run_plots
from convnets.augment import pipeline
from convnets.evaluation.evaluator import Evaluated
from convnets.evaluation.metrics import guess_classes
from convnets.models.summary import capture, summarize
from convnets.runtime import drawing, files
from convnets.training.trainer import Run

FILTERS = 256  # drawn of a first layer


def draw_run_figures(run: Run, tested: Evaluated) -> list[Path]:
    """Draws the figures of a finished run into its workdir; returns their paths. A figure that fails is left out.

    The curves are drawn last: every run has them, so where they are missing, drawing was interrupted.
    """
    names = ("curves.png", "filters.png", "confusion.png", "mistakes.png", "answers.png")
    paths = [run.workdir / name for name in names]
    for path in paths:
        path.unlink(missing_ok=True)  # of an earlier result
    title = f"{run.config.model.name} on {run.components.test_split.info.name}"
    with drawing.guard(paths[1]):
        _draw_filters(run, paths[1], title)
    labels, guesses = tested.labels, guess_classes(tested.scores, tested.labels)
    error = f"{np.count_nonzero(guesses != labels)} of {len(labels)} wrong"
    with drawing.guard(paths[2]):
        run_plots.plot_confusion(
            labels, guesses, run.components.test_split.info.label_names, paths[2], f"{title}: {error}"
        )
    with drawing.guard(paths[3]):
        _draw_mistakes(run, labels, guesses, paths[3], f"{title}: {error}, truth > guess")
    if layer := getattr(run.components.model, "answers", ""):
        with drawing.guard(paths[4]):
            _draw_answers(run, layer, labels, paths[4])
    with drawing.guard(paths[0]):
        run_plots.plot_curves(files.read_lines(run.workdir / "metrics.jsonl"), paths[0], title)
    return [path for path in paths if path.exists()]


def _draw_filters(run: Run, path: Path, title: str) -> None:
    model = run.components.model
    first = activations.first_filters(model, run.state.variables, summarize(model))
    if first is not None:
        name, kernels = first
        run_plots.plot_filters(kernels[..., :FILTERS], path, f"{title}: filters of {name}")


def _draw_mistakes(run: Run, labels: np.ndarray, guesses: np.ndarray, path: Path, title: str) -> None:
    shown = np.flatnonzero(guesses != labels)[:100]
    run_plots.plot_mistakes(
        run.components.test_split.images(shown),
        labels[shown],
        guesses[shown],
        run.components.test_split.info.label_names,
        path,
        title,
    )


def _draw_answers(run: Run, layer: str, labels: np.ndarray, path: Path) -> None:
    info = run.components.test_split.info
    some = np.sort(np.concatenate([np.flatnonzero(labels == i)[:10] for i in range(info.num_classes)]))
    images = run.components.test_split.images(some)
    pixels = pipeline.apply(run.components.test_split.device_ops, None, images)
    outputs = np.asarray(capture(run.components.model, run.state.variables, pixels)[layer][1])[:, 0, 0]
    run_plots.plot_answers(images, outputs, labels[some], info.label_names, path, f"{info.name}: answers of {layer}")
