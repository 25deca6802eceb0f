"""Where the object tiers of a test keep their objects, and what is there."""

import uuid

import obstore

from forecache import ObjectStore
from forecache.flow import run
from forecache.tiers.objects.tier import ObjectTier

MINUTE = 60_000
KEYS = {"access_key": "AKIDEXAMPLE", "secret_key": "wJalrXUtnFEMI"}


class Home:
    """Where the tiers of a test keep their objects."""

    def __init__(self, kind, root, server=None):
        self.kind, self.root, self.server = kind, root, server

    def store(self, place=None, **options):
        options = {"min_size": 0, "sweep": float("inf")} | options
        place = uuid.uuid4().hex if place is None else place
        if self.kind == "directory":
            return ObjectStore(f"file://{self.root}/{place}", **options)
        return ObjectStore(f"s3://{self.server.bucket}/{place}", **{"endpoint": self.server.url} | KEYS | options)

    def tier(self, now, place=None, **options):
        return ObjectTier(self.store(place, **options), "space", now)


def payloads(tier, *keys, do=run):
    return {key: entry.payload for key, entry in do(tier.get_many(keys)).items()}


def raw(tier):
    """obstore's own store, and the objects of the tier's values."""
    store = tier._bucket._open()[0]._store
    return store, sorted(each["path"] for each in obstore.list(store, tier._names.root).collect())


def objects(tier, kind):
    return [name for name in raw(tier)[1] if name.startswith(f"{tier._names.root}{kind}/")]


def swept(tier, do=run):
    return do(tier.sweep())
