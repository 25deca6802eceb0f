"""SeaweedFS, an object store that speaks S3, all in one process. It keeps the conditions of puts, but not those of deletes."""

from __future__ import annotations

import http.client
from pathlib import Path

from servers.process import Server, free_port, program

PARTS = ["master", "filer", "volume", "admin"]
"""What has a port and another for gRPC."""


class S3(Server):
    """It asks for no credentials; whatever a client signs with is taken."""

    bucket = "forecache"

    def __init__(self) -> None:
        super().__init__("s3")
        self.ports = {f"{part}.port{kind}": free_port() for part in PARTS for kind in ("", ".grpc")} | {
            "s3.port.grpc": free_port()
        }

    @property
    def url(self) -> str:
        """The endpoint; the bucket is `bucket`."""
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        """Everything off that isn't needed; in particular it must not report home."""
        options = {
            "dir": self.folder,
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            "bucket": self.bucket,
            "s3.port": self.port,
            **self.ports,
        }
        off = ["webdav", "admin.ui", "master.telemetry"]
        options |= dict.fromkeys(off, "false") | {"s3.port.iceberg": 0, "s3.port.lance": 0}
        return [program("weed"), "-logtostderr", "mini", *(f"-{name}={value}" for name, value in options.items())]

    def put(self, key: str, value: bytes, headers: dict[str, str] | None = None, port: int | None = None) -> int:
        """The status of a put into the bucket; `port` may be a proxy's."""
        line = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=2)
        try:
            line.request("PUT", f"/{self.bucket}/{key}", value, headers or {})
            return line.getresponse().status
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error
        finally:
            line.close()

    def answers(self) -> bool:
        """Whether it takes an object."""
        return self.put("ready", b"") == 200

    def kill(self) -> None:
        """Kills it, and removes the sockets that it leaves in the temporary folder, wherever it thinks that is."""
        super().kill()
        for port in (self.port, *self.ports.values()):
            for path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                path.unlink()
