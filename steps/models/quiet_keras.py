"""Keras on TensorFlow, imported as quietly as TensorFlow is."""

from __future__ import annotations

import os

from steps.models.quiet_tensorflow import native_stderr_kept, tf

os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever this machine prefers elsewhere: a SavedModel is what is wanted
with native_stderr_kept():
    import keras
    import keras_rs

__all__ = ["keras", "keras_rs", "tf"]
