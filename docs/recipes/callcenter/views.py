import httpx
from django.conf import settings
from django.http import HttpResponse

from recloser import circuit


@circuit("elevenlabs", failures=5)
def synthesize(text: bytes) -> bytes:
    answer = httpx.post(f"{settings.SPEECH_URL}/speech", content=text, timeout=5)
    answer.raise_for_status()
    return answer.content


@circuit("elevenlabs")
async def asynthesize(text: bytes) -> bytes:
    async with httpx.AsyncClient(timeout=5) as client:
        answer = await client.post(f"{settings.SPEECH_URL}/speech", content=text)
    answer.raise_for_status()
    return answer.content


def speak(request):
    return HttpResponse(synthesize(request.body), content_type="audio/mpeg")


async def aspeak(request):
    return HttpResponse(await asynthesize(request.body), content_type="audio/mpeg")
