"""From a config to a trained run: state, optimizer, schedules, the training step and loop, checkpoints and logs."""
