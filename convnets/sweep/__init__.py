"""Sweeps: experiments that reproduce the papers' tables and claims, run as independent trials."""

from convnets.sweep.experiment import Claim, Experiment, Row, Size, Test  # noqa: F401
