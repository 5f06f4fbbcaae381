"""Pipecat's two ways to run a pipeline: a worker and its runner, and what they were called before 1.3."""

from __future__ import annotations

import inspect
import re
from importlib import metadata
from typing import Any

__all__ = ["NEW", "VERSION", "PipelineWorker", "pipeline_worker", "run_worker"]

VERSION = tuple(int(number) for number in re.findall(r"\d+", metadata.version("pipecat-ai"))[:3])

NEW = VERSION >= (1, 14)
"""Whether this is the release that most tests are for."""

if VERSION >= (1, 3):
    from pipecat.pipeline.worker import PipelineWorker
    from pipecat.workers.runner import WorkerRunner
else:
    from pipecat.pipeline.runner import PipelineRunner
    from pipecat.pipeline.task import PipelineTask as PipelineWorker

_LIMITS = {"enable_rtvi": False, "idle_timeout_secs": None, "cancel_timeout_secs": 2.0, "setup_timeout_secs": 2.0}


def pipeline_worker(pipeline: Any, **params: Any) -> Any:
    """A worker with limits that fit a test, as far as this release knows them."""
    known = inspect.signature(PipelineWorker.__init__).parameters
    return PipelineWorker(pipeline, **{name: value for name, value in _LIMITS.items() if name in known} | params)


async def run_worker(*workers: Any) -> None:
    """Runs them to their end; an older runner runs one."""
    if VERSION >= (1, 3):
        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(*workers)
        await runner.run()
    else:
        (worker,) = workers
        await PipelineRunner(handle_sigint=False).run(worker)
