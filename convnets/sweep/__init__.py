"""Sweeps: experiments that reproduce the papers' tables and claims, run as independent trials."""

from convnets.sweep.experiment import Claim, Evaluation, Experiment, Row, Scale  # noqa: F401
