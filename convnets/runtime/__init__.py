"""Devices, process groups, preemption, locks, atomic files, progress and provenance: what every run needs around its steps."""
