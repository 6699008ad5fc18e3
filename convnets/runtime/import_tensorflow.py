"""Imports TensorFlow, which only decodes images here."""

import contextlib
import os
from typing import Any


def import_tensorflow() -> Any:
    """Returns TensorFlow, which then prints no notices and leaves the accelerator to JAX."""
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "1") == "1":  # set by JAX; TensorFlow's warnings would hide our errors
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # Keras is unused; legacy Keras is absent, so it costs no time
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # oneDNN prints a notice at start; nothing here needs it
    import tensorflow as tf

    with contextlib.suppress(RuntimeError):  # TensorFlow is already initialized
        tf.config.set_visible_devices([], "GPU")  # the accelerator belongs to JAX
    return tf
