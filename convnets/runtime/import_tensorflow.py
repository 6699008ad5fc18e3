"""Imports TensorFlow, which only decodes images here."""

import contextlib
import os
import sys
from typing import Any


def import_tensorflow() -> Any:
    """Returns TensorFlow, which then prints no notices and leaves the accelerator to JAX.

    It stays as it is if it was imported before, by the user or by this function.
    """
    if imported := sys.modules.get("tensorflow"):
        return imported
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "1") == "1":  # set by JAX; TensorFlow's warnings would hide our errors
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # oneDNN prints a notice at start; nothing here needs it
    own = "TF_USE_LEGACY_KERAS" not in os.environ
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # Keras is unused; legacy Keras is absent, so it costs no time
    import tensorflow as tf

    if own:  # the user may want tf.keras
        del os.environ["TF_USE_LEGACY_KERAS"]
    with contextlib.suppress(RuntimeError):  # TensorFlow is already initialized
        tf.config.set_visible_devices([], "GPU")  # the accelerator belongs to JAX
    return tf
