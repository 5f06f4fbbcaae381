"""Started with `uvicorn fastapi_app:app`."""

import os
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI, Request, Response

import recloser
from recloser.integrations.starlette import install


@recloser.lifespan  # waits for the fleet before this begins, delivers after it has ended
@asynccontextmanager
async def lifespan(app: FastAPI):
    async with httpx.AsyncClient(base_url=os.environ["SPEECH_URL"], timeout=5) as speech:
        yield {"speech": speech}


app = FastAPI(lifespan=lifespan)
install(app)  # PausedError is answered with 503 and Retry-After


@recloser.circuit("elevenlabs", failures=5)
async def synthesize(speech: httpx.AsyncClient, text: str) -> bytes:
    answer = await speech.post("/speech", content=text)
    answer.raise_for_status()
    return answer.content


@app.post("/speak")
async def speak(request: Request) -> Response:
    text = (await request.body()).decode()
    return Response(await synthesize(request.state.speech, text), media_type="audio/mpeg")


@app.exception_handler(httpx.HTTPError)
async def provider_failed(request: Request, error: httpx.HTTPError) -> Response:
    return Response(status_code=502)  # a call was made, and failed: what that means is yours to say
