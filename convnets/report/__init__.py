"""Recorded results, verdicts on claims, and the tables and figures that `--mode=report` writes."""
