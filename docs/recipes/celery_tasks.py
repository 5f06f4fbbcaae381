"""Started with `celery --app=celery_tasks worker`."""

import os
import random

import httpx
from celery import Celery
from celery.signals import worker_process_init

from recloser import PausedError, circuit, configure, requires

app = Celery("celery_tasks")  # its broker: CELERY_BROKER_URL
LONGEST = 600.0  # well below the broker's visibility timeout, after which it would hand the task out twice


@worker_process_init.connect
def hear_of_the_fleet(**_) -> None:
    configure().ready("2s")  # Celery gives a child four seconds to begin


@requires("deepgram", "elevenlabs")  # nobody is called while nobody could talk to them
@circuit("twilio")
def place_call(number: str) -> str:
    answer = httpx.post(f"{os.environ['TELEPHONY_URL']}/calls", content=number, timeout=5)
    answer.raise_for_status()
    return answer.text


@app.task(bind=True, max_retries=None)
def dial(task, number: str) -> str:
    try:
        return place_call(number)
    except PausedError as paused:  # it was not called, so that it can be put back; all at once would be too many
        wait = LONGEST if paused.retry_after is None else min(paused.retry_after, LONGEST)
        raise task.retry(exc=paused, countdown=wait * random.uniform(1.0, 1.1)) from paused
