"""Workers that draw for a run, and how they end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TRAINING = """
import os, signal, torch
from monai_mimo.data.step_loader import StepLoader

class Steps(torch.utils.data.Dataset):
    def __len__(self):
        return 1000

    def __getitem__(self, step):
        return os.getpid()

steps = iter(StepLoader(Steps(), 1))
worker = next(steps)
if os.fork() == 0:
    os.kill(worker, signal.SIGTERM)  # as a cluster does
    os._exit(0)
os.wait()
assert [next(steps) for _ in range(20)] == [worker] * 20
print(worker, flush=True)
raise RuntimeError("a fault")
"""


def test_a_worker_outlives_the_sigterm_of_others_and_ends_with_a_run_that_fails() -> None:
    """A run that failed waits for its workers, whom it sent a SIGTERM."""
    run = subprocess.run([sys.executable, "-c", TRAINING], capture_output=True, text=True, timeout=120)
    assert run.returncode == 1
    assert "RuntimeError: a fault" in run.stderr
    assert not Path(f"/proc/{int(run.stdout)}").exists()
