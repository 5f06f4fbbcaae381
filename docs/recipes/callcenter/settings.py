"""As few settings as Django works with."""

import os

SECRET_KEY = "only for the recipe"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "callcenter.urls"
INSTALLED_APPS = ["callcenter"]
MIDDLEWARE = ["callcenter.middleware.PausedMiddleware"]
DATABASES = {}

RECLOSER = {"backend": os.environ.get("CALLCENTER_REDIS"), "namespace": os.environ.get("CALLCENTER_FLEET")}
SPEECH_URL = os.environ.get("SPEECH_URL", "")
