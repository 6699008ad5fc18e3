"""Sweeps: the papers' tables and claims as experiments, run trial by trial."""

from convnets.sweep.experiment import Claim, Experiment, Row, Size, Test  # noqa: F401
