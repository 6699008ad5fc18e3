"""The augmentation language: host operations (TensorFlow), device operations (JAX), and statistics of a training set."""
