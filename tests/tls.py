"""TLS in front of servers that speak none, so that every machine can test it."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from .ports import HOST
from .proxy import Proxy

_DAY = dt.timedelta(days=1)


class Authority:
    """A certificate authority of one test's own.

    Args:
        folder: Where its files are written.
        name: Its own, and that of its file.
        lasts: How long from now its certificates are valid, as is its own.

    Attributes:
        certificate: The file by which clients trust it.
    """

    def __init__(
        self, folder: Path, name: str = "authority", *, lasts: dt.timedelta = _DAY
    ) -> None:
        self._folder = folder
        self._lasts = lasts
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        issued = self._issue(
            self._name, self._key, x509.BasicConstraints(ca=True, path_length=None)
        )
        self.certificate = self._write(f"{name}.pem", issued)

    def issue(self, name: str, host: str = HOST) -> tuple[Path, Path]:
        """Return the files of a certificate for a host, and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        address = x509.IPAddress(ipaddress.ip_address(host))
        issued = self._issue(_named(name), key, x509.SubjectAlternativeName([address]))
        secret = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return self._write(f"{name}.pem", issued), self._write(f"{name}.key", secret)

    def server(self, host: str = HOST, *, clients_too: bool = False) -> ssl.SSLContext:
        """Return what a server for a host needs; it may demand certificates of its clients."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.certificate)
        context.load_cert_chain(*self.issue(f"server-{host}", host))
        if clients_too:
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _issue(
        self, name: x509.Name, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType
    ) -> bytes:
        now = dt.datetime.now(dt.timezone.utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _DAY)
            .not_valid_after(now + self._lasts)
            .add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
            # Python 3.13 and later insist on these.
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), False
            )
        )
        if isinstance(extension, x509.BasicConstraints):
            builder = builder.add_extension(_SIGNS, critical=True)
        issued = builder.sign(self._key, hashes.SHA256())
        return issued.public_bytes(serialization.Encoding.PEM)

    def _write(self, name: str, content: bytes) -> Path:
        path = self._folder / name
        path.touch(mode=0o600)  # libpq refuses a key that others may read
        path.write_bytes(content)
        return path


_SIGNS = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


class UpgradingProxy(Proxy):
    """Speaks TLS once a client of PostgreSQL has asked for it."""

    _upgrade: ssl.SSLContext | None = None

    async def accept(self) -> None:
        self._upgrade, self._tls = self._tls or self._upgrade, None
        await super().accept()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)  # https://www.postgresql.org/docs/current/protocol-flow.html
        writer.write(b"S")
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            secured = await loop.start_tls(
                writer.transport, protocol, self._upgrade, server_side=True
            )
        except OSError:  # the client turned away
            return
        assert secured is not None
        reader.set_transport(secured)
        await super()._carry(reader, asyncio.StreamWriter(secured, protocol, reader, loop))
