from django.apps import AppConfig
from django.conf import settings

import recloser


class CallcenterConfig(AppConfig):
    name = "callcenter"

    def ready(self) -> None:
        recloser.configure(**settings.RECLOSER)  # {"backend": "redis://...", "namespace": "callcenter"}
