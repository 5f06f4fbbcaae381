"""Throwaway certificates, made by the openssl command in milliseconds and gone with the folder that they are in."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# What `ssl.VERIFY_X509_STRICT` asks for, which is in force by default since Python 3.13.
EXTENSIONS = {
    "authority": "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n"
    "subjectKeyIdentifier=hash\n",
    "server": "basicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\nsubjectAltName={names}\n"
    "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n",
    "client": "basicConstraints=CA:FALSE\nextendedKeyUsage=clientAuth\n"
    "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n",
}


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, as PEM files."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates; who trusts `ca` trusts them, and nobody else does.

    Args:
        folder: Where its files are put, such as a `tmp_path`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._own = Certificate(folder / "ca.pem", folder / "ca.key")
        request = self._request(self._own, "authority of a test")
        self._sign(request, self._own, EXTENSIONS["authority"], "-signkey", str(self._own.key))

    @property
    def ca(self) -> Path:
        """The certificate that a client has to trust (`ssl_ca_certs` of redis-py)."""
        return self._own.certificate

    def server(self, names: str = "IP:127.0.0.1,DNS:localhost") -> Certificate:
        """The certificate of a server with these names."""
        return self._issue("server", EXTENSIONS["server"].format(names=names))

    def client(self) -> Certificate:
        """The certificate of a client (`ssl_certfile` and `ssl_keyfile` of redis-py)."""
        return self._issue("client", EXTENSIONS["client"])

    def context(self, names: str = "IP:127.0.0.1,DNS:localhost", *, ask_clients: bool = False) -> ssl.SSLContext:
        """What a server with these names serves TLS with; clients may have to show a certificate of this authority."""
        own = self.server(names)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(own.certificate, own.key)
        if ask_clients:
            tls.verify_mode = ssl.CERT_REQUIRED
            tls.load_verify_locations(self.ca)
        return tls

    def _issue(self, kind: str, extensions: str) -> Certificate:
        number = len(list(self.folder.glob("*.key")))
        issued = Certificate(self.folder / f"{kind}{number}.pem", self.folder / f"{kind}{number}.key")
        request = self._request(issued, f"{kind} of a test")
        signer = ["-CA", str(self.ca), "-CAkey", str(self._own.key), "-set_serial", str(number + 1)]
        self._sign(request, issued, extensions, *signer)
        return issued

    def _request(self, issued: Certificate, name: str) -> Path:
        request = issued.key.with_suffix(".csr")
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        _openssl("req", "-new", *curve, "-keyout", str(issued.key), "-out", str(request), "-subj", f"/CN={name}")
        return request

    def _sign(self, request: Path, issued: Certificate, extensions: str, *signer: str) -> None:
        file = request.with_suffix(".ext")
        file.write_text(extensions)
        ends = ["-days", "2", "-sha256", "-extfile", str(file)]
        _openssl("x509", "-req", "-in", str(request), "-out", str(issued.certificate), *ends, *signer)


def _openssl(*args: str) -> None:
    ran = subprocess.run(["openssl", *args], capture_output=True, text=True, timeout=20, check=False)
    if ran.returncode:
        raise RuntimeError(f"openssl {' '.join(args)}: {ran.stderr}")
