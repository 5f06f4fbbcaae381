"""For ``PIPECAT_SETUP_FILES``: attaches to every pipeline worker that starts, without a line of code.

Pipecat loads this file by its path, calls the function with each worker, and logs whatever it raises.
"""

from typing import Any

from recloser.integrations.pipecat import attach

__all__ = ["setup_pipeline_task", "setup_pipeline_worker"]


async def setup_pipeline_worker(worker: Any) -> None:
    """Attaches to ``worker``, unless the application did so itself."""
    attach(worker, again=True)


setup_pipeline_task = setup_pipeline_worker
"""Its name before Pipecat 1.3."""
