"""What TestRecipes runs the recipe for Django with: an application in one file,
asked over its WSGI handler. RECIPE is replaced by the code of docs/recipes.md."""

import os
import sys
from types import SimpleNamespace
from urllib.parse import quote, unquote, urlsplit

import django
from django.conf import settings

url = urlsplit(os.environ["DATABASE_URL"])
settings.configure(
    ALLOWED_HOSTS=["testserver"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="of this test",
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": url.hostname, "PORT": url.port, "NAME": url.path[1:],
            "USER": unquote(url.username), "PASSWORD": unquote(url.password or ""),
            "CONN_MAX_AGE": None,  # one connection for all: whatever stays on it shows
        }
    },
    MIDDLEWARE=[f"{__name__}.authentication", f"{__name__}.audit"],
)
django.setup()

from django.db import connection, models
from django.http import HttpResponse
from django.test import Client
from django.urls import path


class Order(models.Model):
    item = models.TextField()
    total = models.IntegerField(default=0)

    class Meta:
        app_label, db_table, managed = "shop", "orders", False


def authentication(get_response):
    def middleware(request):
        request.user = SimpleNamespace(pk=request.META.get("HTTP_X_USER"))
        return get_response(request)
    return middleware


RECIPE


def create(request):
    Order.objects.create(item=request.POST["item"])
    return HttpResponse("created")


def change(request, item):
    Order.objects.filter(item=item).update(total=models.F("total") + 1)
    return HttpResponse("changed")


urlpatterns = [path("orders/", create), path("orders/<str:item>/", change)]

if __name__ == "__main__":
    client, item = Client(), os.environ["ITEM"]
    answers = [
        client.post("/orders/", {"item": item}, HTTP_X_USER="u-17"),
        client.post(f"/orders/{item}/", HTTP_X_USER="50%/*o'malley*/"),
        client.post(f"/orders/{item}/"),  # nobody
    ]
    sys.exit(any(a.status_code != 200 for a in answers))
