"""Stores by URL, and what their errors mean."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from forecache.errors import TierUnavailable
from forecache.tiers.objects.url import Access, Where
from forecache.tiers.remote import needs

__all__ = ["Moved", "Place", "Unsupported", "client", "open_place"]

FOREVER = 86_400
"""Seconds of a request that nobody bounds."""
CONNECT = 5.0
"""Seconds that connecting may take, at most."""
SHOWN = 300
"""Characters of an error that are shown."""
METADATA = "http://169.254.169.254/"
CREDENTIALS = {
    "s3": "give access_key and secret_key, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "give secret_key, or set GOOGLE_SERVICE_ACCOUNT to the path of a service account's file",
    "az": "give access_key and secret_key, or set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
"""What is to be said where the clouds' own machines would be asked, and this is none or has no rights."""
_CODE = re.compile(r"<Code>([^<]*)</Code>(?:.*?<Message>([^<]*)</Message>)?", re.DOTALL)
_NOWHERE = re.compile("NoSuchBucket|ContainerNotFound|bucket does not exist", re.IGNORECASE)
_EMPTY = re.compile("416 Range Not|range was invalid", re.IGNORECASE)
"""What a store says that is asked for a part of nothing."""
_BROKE = re.compile(r"HttpError \{\s*kind: (\w+)")
_WHY = re.compile(r'(?:message|error): "([^"]+)"|(Invalid\w+\(\s*\w+)')
_SIGNED = re.compile(r"([?&][\w-]*(?:sig|signature|credential|token|key)=)[^&\s)]+", re.IGNORECASE)


class Moved(Exception):
    """There is another content by now."""


class Unsupported(TierUnavailable):
    """The store has no such request."""


@dataclass(frozen=True)
class Place:
    """A store, and how it speaks."""

    obstore: Any
    store: Any
    where: Where
    secrets: tuple[str, ...] = ()

    @property
    def ordered(self) -> bool:
        """Whether it lists by name, page by page. A directory has no order."""
        return self.where.scheme != "file"

    @property
    def bulk(self) -> bool:
        """Whether it deletes a thousand objects in one request, and doesn't mind those that aren't there."""
        return self.where.scheme == "s3"

    def absent(self, error: Exception) -> None:
        """Returns if `error` says that there is no such object; else raises what it means."""
        errors = self.obstore.exceptions
        if isinstance(error, errors.PreconditionError):
            raise Moved from None
        text = str(error)
        if isinstance(error, FileNotFoundError):
            if not _NOWHERE.search(text):
                return
        elif _EMPTY.search(text):
            return
        raise self._meaning(error) from None

    def refused(self, error: Exception) -> bool:
        """False if `error` says that the condition of a put wasn't met; else it raises what it means."""
        errors = self.obstore.exceptions
        if isinstance(error, errors.AlreadyExistsError | errors.PreconditionError):
            return False
        raise self._meaning(error) from None

    def _meaning(self, error: Exception) -> Exception:
        errors = self.obstore.exceptions
        text, _, source = str(error).partition("\n\nDebug source")
        if METADATA in text:  # it asks the machine that it may run on
            return TierUnavailable(f"no credentials were found: {CREDENTIALS[self.where.scheme]}")
        if isinstance(error, NotImplementedError | errors.NotSupportedError) or "501 Not Implemented" in text:
            return Unsupported(self._readable(text))
        if not isinstance(error, OSError | ValueError | errors.BaseError):
            return error
        broke = _BROKE.search(source)
        kind = broke[1] if broke else ""
        why = "no answer in time" if kind == "Timeout" else ": ".join(dict.fromkeys(map("".join, _WHY.findall(source[-2000:]))))
        unavailable = TierUnavailable(self._readable(f"{text}: {why}" if broke and why else text))
        unavailable.unsent = kind == "Connect"
        unavailable.lost = kind in {"Connect", "Request", "Interrupted"} or "503 Service Unavailable" in text
        return unavailable

    def _readable(self, text: str) -> str:
        told, _, _ = text.partition("<?xml")
        code = _CODE.search(text)
        if code:
            told = f"{told.rstrip(' :')}: {code[1]}: {code[2] or ''}"
        told = _SIGNED.sub(r"\1…", " ".join(told.split()))
        for secret in self.secrets:
            told = told.replace(secret, "…")
        return told[:SHOWN]


def client() -> tuple[Any, Any]:
    """Obstore and its stores, or `ImportError` that names the `pip install` line."""
    try:
        import obstore
        import obstore.store as stores
    except ImportError as error:
        raise needs("s3", error) from None
    return obstore, stores


def open_place(there: Where, access: Access) -> Place:
    """The store of a URL; nothing is contacted. Raises `ImportError` where obstore isn't installed, else what obstore raises."""
    obstore, stores = client()
    seconds = FOREVER if access.timeout is None else access.timeout
    limits: Any = {
        "client_options": {
            "timeout": timedelta(seconds=seconds),
            "connect_timeout": timedelta(seconds=min(seconds, CONNECT)),
            "allow_http": bool(access.endpoint and access.endpoint.startswith("http://")),
        },
        # A layer above tries again, where it is safe.
        "retry_config": {"max_retries": 0, "retry_timeout": timedelta(seconds=seconds)},
    }
    if access.ca is not None:
        limits["client_options"]["root_certificate"] = Path(access.ca).read_bytes()
    given: dict[str, Any]
    store: Any
    if there.scheme == "file":
        store = stores.LocalStore(Path(there.bucket), mkdir=True)
    elif there.scheme == "s3":
        given = {
            "endpoint": access.endpoint,
            "region": access.region,
            "access_key_id": access.access_key,
            "secret_access_key": access.secret_key,
        }
        store = stores.S3Store(there.bucket, **_named(given), **limits)
    elif there.scheme == "gs":
        kind = "service_account_key" if (access.secret_key or "").lstrip().startswith("{") else "service_account"
        given = {"base_url": access.endpoint, kind: access.secret_key}
        if access.endpoint and not access.secret_key:  # an emulator
            given["skip_signature"] = True
        store = stores.GCSStore(there.bucket, **_named(given), **limits)
    else:
        given = {"endpoint": access.endpoint, "account_name": access.access_key, "account_key": access.secret_key}
        store = stores.AzureStore(there.bucket, **_named(given), **limits)
    return Place(obstore, store, there, tuple(each for each in (access.secret_key, access.access_key) if each))


def _named(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
