"""An authority of our own, and what it signed for one server and one client: made by `openssl` anew for each server."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path
from typing import NamedTuple

from servers.process import give

CONFIGURATION = """
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[signed]
basicConstraints = critical, CA:FALSE
subjectAltName = IP:127.0.0.1, DNS:localhost
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


class Certificates(NamedTuple):
    """Paths of PEM files."""

    authority: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path

    def context(self) -> ssl.SSLContext:
        """What a client that trusts the authority and shows its own certificate wraps its sockets in."""
        context = ssl.create_default_context(cafile=str(self.authority))
        context.load_cert_chain(self.client, self.client_key)
        return context


def make(folder: Path) -> Certificates:
    """Makes all of them in the folder, readable by the servers."""
    (folder / "openssl.cnf").write_text(CONFIGURATION)

    def sign(name: str, section: str, *by: str) -> tuple[Path, Path]:
        words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -config openssl.cnf"
        subprocess.run(
            [
                *words.split(),
                "-subj",
                f"/CN={name}",
                "-extensions",
                section,
                "-out",
                f"{name}.pem",
                "-keyout",
                f"{name}.key",
                *by,
            ],
            cwd=folder,
            check=True,
            capture_output=True,
        )
        give(folder / f"{name}.key")
        return folder / f"{name}.pem", folder / f"{name}.key"

    authority, _ = sign("authority", "authority")
    by = ("-CA", "authority.pem", "-CAkey", "authority.key")
    return Certificates(authority, *sign("server", "signed", *by), *sign("client", "signed", *by))
