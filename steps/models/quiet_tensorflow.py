"""TensorFlow, imported without the lines that its native code writes to stderr about the processor and missing GPUs."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def native_stderr_kept() -> Iterator[None]:
    """Catches what native code writes to file descriptor 2, and gives it back where the block fails."""
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 2)
        try:
            yield
        except BaseException:
            caught.seek(0)
            os.write(saved, caught.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
with native_stderr_kept():
    import tensorflow as tf
    from tensorflow.core.protobuf.fingerprint_pb2 import FingerprintDef

    tf.config.list_physical_devices()  # looks for GPUs now, and says here that there are none

__all__ = ["FingerprintDef", "tf"]
