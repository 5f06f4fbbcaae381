from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from callcenter import views

urlpatterns = [path("speak", csrf_exempt(views.speak)), path("aspeak", csrf_exempt(views.aspeak))]
