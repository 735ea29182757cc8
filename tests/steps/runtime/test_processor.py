from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from steps.runtime import processor
from steps.runtime.processor import KERNELS, calculate_in_one_thread, use_all_of_it


@pytest.fixture
def wide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What Linux says of a processor with AVX-512, in a process that has not loaded numpy."""
    monkeypatch.delitem(sys.modules, "numpy")
    about = tmp_path / "cpuinfo"
    about.write_text("processor\t: 0\nflags\t\t: fpu avx2 avx512f avx512bw\n")
    return about


def test_kernels_of_an_older_processor_are_set_aside_and_that_is_told(
    wide: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, processor.log.name)
    environment = {KERNELS: "Haswell", "PATH": "/bin"}
    use_all_of_it(environment, wide)
    assert environment == {"PATH": "/bin"}
    assert caplog.messages == ["OPENBLAS_CORETYPE=Haswell is set aside: this processor has AVX-512"]


@pytest.mark.parametrize("told", ["SkylakeX", "SAPPHIRERAPIDS", ""])
def test_a_choice_that_the_processor_does_not_exceed_stays(wide: Path, told: str) -> None:
    environment = {KERNELS: told}
    use_all_of_it(environment, wide)
    assert environment == {KERNELS: told}


def test_on_a_processor_without_wide_instructions_every_choice_stays(
    wide: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, processor.log.name)
    environment = {KERNELS: "Haswell"}
    for text in ("flags\t\t: fpu avx2\nmodel name\t: avx512f in name only\n", ""):
        wide.write_text(text)
        use_all_of_it(environment, wide)
    wide.unlink()
    use_all_of_it(environment, wide)
    assert (environment, caplog.messages) == ({KERNELS: "Haswell"}, [])


def test_after_numpy_was_loaded_it_is_too_late(wide: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", sys)
    environment = {KERNELS: "Haswell"}
    use_all_of_it(environment, wide)
    assert environment == {KERNELS: "Haswell"}


PROGRAMS = (
    "data_publish", "train", "evaluate", "batch_predict", "blend", "serve", "slot_server", "model_publish", "client",
)  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS)
def test_no_program_loads_numpy_before_it_starts(program: str) -> None:
    code = f"import steps.{program}, sys; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_server_calculates_in_one_thread_whatever_the_environment_says() -> None:
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "4"}
    calculate_in_one_thread(environment)
    program = "import numpy; from threadpoolctl import threadpool_info as t; print([one['num_threads'] for one in t()])"
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    if done.stdout.strip() == "[]":
        pytest.skip("this numpy calculates by a library whose threads cannot be counted")
    assert set(done.stdout.strip()) <= set("[1, ]")
