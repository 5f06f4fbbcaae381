"""Pipecat: every error of a pipeline counts for the circuit of its provider, and so does every answer.

Example::

    from recloser.integrations.pipecat import attach

    worker = PipelineWorker(pipeline)
    attach(worker, on_failure={"deepgram": "end_call"})

Without a line of code: ``export PIPECAT_SETUP_FILES=$(python -m recloser.integrations.pipecat)``.
"""

from recloser.integrations.needs import need

need(__name__, "pipecat-ai", "0.0.108")

from recloser.integrations.pipecat.acting import CallFailure  # noqa: E402 - after what they need is known
from recloser.integrations.pipecat.attaching import Attachment, attach  # noqa: E402
from recloser.integrations.pipecat.switching import FleetFailover, fleet_failover  # noqa: E402

__all__ = ["Attachment", "CallFailure", "FleetFailover", "attach", "fleet_failover"]
