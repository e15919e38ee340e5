"""Serves django-oci on loopback: `python serve.py PORT DIRECTORY`."""

import os
import sys

import django
from django.conf import settings
from django.core.management import call_command

port, directory = sys.argv[1:]
# Blobs are stored below the media directory, and found below this one.
os.chdir(directory)
settings.configure(
    SECRET_KEY="test",
    ALLOWED_HOSTS=["127.0.0.1"],
    INSTALLED_APPS=[
        "django.contrib.contenttypes",
        "django.contrib.auth",
        "rest_framework",
        "rest_framework.authtoken",
        "django_oci",
    ],
    ROOT_URLCONF="__main__",
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.path.join(directory, "database"),
            # One writer at a time; the others wait.
            "OPTIONS": {"timeout": 60},
        }
    },
    MEDIA_ROOT=directory,
    DATA_UPLOAD_MAX_MEMORY_SIZE=1 << 30,
    DJANGO_OCI={
        "DISABLE_AUTHENTICATION": True,
        "MEDIA_ROOT": "images",
        "VIEW_RATE_LIMIT": "100000/s",
    },
)
django.setup()

from django.urls import include, path  # noqa: E402, after the settings

urlpatterns = [path("", include("django_oci.urls", namespace="django_oci"))]

call_command("migrate", run_syncdb=True, verbosity=0)
call_command("runserver", f"127.0.0.1:{port}", use_reloader=False)
