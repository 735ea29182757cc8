"""What the Keras families share: their losses and quiet imports."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest


def test_the_loss_against_a_draw_is_that_against_the_catalogue_where_all_of_it_is_drawn() -> None:
    from steps.models.networks.losses import against_drawn

    scores = np.array([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]], np.float32)
    wanted = np.array([1, 2])
    right = scores[[0, 1], wanted]
    others = np.array([[1.0, 0.5], [0.0, -1.0]], np.float32)
    expected = np.log(np.exp(scores).sum(axis=1)) - right
    found = against_drawn(right, others, np.zeros((2, 2), bool), 3)
    assert np.asarray(found) == pytest.approx(expected, rel=1e-5)
    # A drawn item that is the wanted one is not held against it.
    doubled = np.concatenate([others, right[:, None]], axis=1)
    masked = against_drawn(right, doubled, np.array([[False, False, True]] * 2), 4)
    assert np.asarray(masked) == pytest.approx(expected, rel=1e-5)


def test_an_import_of_a_family_says_nothing_and_imports_no_framework() -> None:
    code = (
        "import sys; from steps.models import families; [families.make(name) for name in families.FAMILIES];"
        "sys.exit(any(name in sys.modules for name in ('tensorflow', 'keras', 'keras_rs')))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_importing_keras_says_nothing() -> None:
    code = "import steps.models.networks.towers"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
