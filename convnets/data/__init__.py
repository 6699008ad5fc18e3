"""Data sets: sources, the decoded cache, tf.data pipelines, and batches as a function of (seed, step)."""
