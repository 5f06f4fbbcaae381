import math

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import JsonResponse

from recloser import PausedError


class PausedMiddleware:
    sync_capable = async_capable = True

    def __init__(self, get_response):
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request):
        return self.get_response(request)  # under ASGI a coroutine, which Django awaits

    def process_exception(self, request, exception):
        if not isinstance(exception, PausedError):
            return None
        wait = None if exception.retry_after is None else max(1, math.ceil(exception.retry_after))
        # Not its reason, which quotes operators and providers, and was not written for the public.
        body = {"error": "paused", "circuit": exception.circuit, "retry_after": wait}
        return JsonResponse(body, status=503, headers={} if wait is None else {"Retry-After": wait})
