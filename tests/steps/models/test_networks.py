"""What the Keras families share: their losses, quiet imports, and that what they export stands alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from steps.models import families
from steps.models.interactions import Interactions
from steps.models.recommender import NOBODY, Recommender
from steps.models.scorer import rows_of

QUICK = ",".join(
    [
        "deep_cf.factors=8,deep_cf.hidden=8,deep_cf.epochs=2",
        "sequence.factors=8,sequence.blocks=1,sequence.epochs=2",
        "two_tower.factors=8,two_tower.hidden=8,two_tower.epochs=2",
    ]
)
NAMES = ("deep_cf", "sequence", "two_tower")
READER = """
import json, sys
import numpy as np
import tensorflow as tf
found = {}
for name in sys.argv[2:]:
    served = tf.saved_model.load(f"{sys.argv[1]}/{name}/saved_model")
    users = tf.constant([f"u{number:03d}" for number in range(50)])
    answer = served.signatures["recommend"](users=users, k=tf.constant(10))
    found[name] = [[one.decode() for one in row] for row in answer["items"].numpy()]
loaded = [one for one in sys.modules if one.partition(".")[0] in ("steps", "keras_rs")]
print(json.dumps({"found": found, "loaded": loaded}))
"""


@pytest.fixture
def trained(checkerboard: Interactions) -> dict[str, Recommender]:
    return {name: families.make(name, QUICK).fit(checkerboard, seed=3) for name in NAMES}


def test_a_fresh_process_with_nothing_but_tensorflow_recommends_the_same(
    trained: dict[str, Recommender], checkerboard: Interactions, tmp_path: Path
) -> None:
    for name, model in trained.items():
        model.export(tmp_path / name, checkerboard.matrix)
    command = [sys.executable, "-c", READER, str(tmp_path), *NAMES]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path, env={"PATH": ""})
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["loaded"] == []
    everybody = np.arange(50, dtype=np.int32)
    for name, model in trained.items():
        expected = model.recommend(everybody, 10, rows_of(checkerboard.matrix, everybody)).items
        items = [["" if code == NOBODY else checkerboard.items[int(code)] for code in row] for row in expected]
        same = np.mean([one == other for one, other in zip(answer["found"][name], items, strict=True)])
        assert same > 0.9, name  # two scores may tie but for rounding


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
