"""TLS in front of the PostgreSQL server, and the certificates for it."""

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Optional

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.postgres import PostgresServer


class Authority:
    """A certificate authority.

    Args:
        directory: Where its files go; ``ca.pem`` is its certificate.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test authority")])
        self.name = name
        self.file = directory / "ca.pem"
        authority = x509.BasicConstraints(ca=True, path_length=None)
        usage = x509.KeyUsage(
            digital_signature=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        certificate = self._begin(name, self.key).add_extension(authority, critical=True)
        certificate = certificate.add_extension(usage, critical=True)
        signed = certificate.sign(self.key, hashes.SHA256())
        self.file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, *hosts: str, phrase: str = "") -> tuple[Path, Path]:
        """Return the files of a certificate and its key.

        Args:
            name: The name of the server or the database user.
            *hosts: The addresses that it is good for.
            phrase: What the key is encrypted with.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._begin(subject, key)
        if hosts:
            names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(h)) for h in hosts])
            builder = builder.add_extension(names, critical=False)
        files = self.directory / f"{name}.pem", self.directory / f"{name}.key"
        signed = builder.sign(self.key, hashes.SHA256())
        files[0].write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        files[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(phrase.encode())
                if phrase
                else serialization.NoEncryption(),
            )
        )
        files[1].chmod(0o600)
        return files

    def _begin(self, name: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            # Python 3.13 verifies strictly: both identifiers are needed.
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                critical=False,
            )
        )


class TlsFront:
    """A port with TLS as the server has it, in front of the server's socket.

    The server that comes with the tests is built without TLS; what a client does to begin
    it, and what it checks, happens here all the same.

    Args:
        server: Where the connections go.
        certificate: The files of its certificate and key; None: it offers no TLS.
        clients: Whose client certificates it demands; None: it asks for none.
    """

    def __init__(
        self,
        server: PostgresServer,
        certificate: Optional[tuple[Path, Path]],
        *,
        clients: Optional[Path] = None,
    ) -> None:
        self.target = f"{server.host}/.s.PGSQL.{server.port}"
        self.encrypted: list[str] = []
        self.direct: list[Optional[str]] = []  # the protocols named by who begins with TLS
        self.context: Optional[ssl.SSLContext] = None
        if certificate is not None:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(*certificate)
            self.context.set_alpn_protocols(["postgresql"])
            if clients is not None:
                self.context.load_verify_locations(clients)
                self.context.verify_mode = ssl.CERT_REQUIRED
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._listen, daemon=True).start()

    def url(self, options: Mapping[str, object], *, host: str = "127.0.0.1") -> str:
        """Return a URL with these options."""
        query = "&".join(f"{name}={value}" for name, value in options.items())
        return f"postgresql://postgres@{host}:{self.port}/postgres?{query}"

    def stop(self) -> None:
        """Accept no more connections."""
        self.listener.close()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            if self.context and client.recv(1, socket.MSG_PEEK) == TLS_RECORD:
                with self.context.wrap_socket(client, server_side=True) as secured:
                    self.direct.append(secured.selected_alpn_protocol())
                    self._relay(secured, b"")
                return
            first = client.recv(8)
            asked = first == SSL_REQUEST
            if asked:
                client.sendall(b"S" if self.context else b"N")
            if self.context is None:
                if asked:
                    first = b""
                self._relay(client, first)
            elif asked:
                with self.context.wrap_socket(client, server_side=True) as secured:
                    self.encrypted.append(str(secured.version()))
                    self._relay(secured, b"")

    def _relay(self, client: socket.socket, first: bytes) -> None:
        with socket.socket(socket.AF_UNIX) as server:
            server.connect(self.target)
            server.sendall(first)
            back = threading.Thread(target=_copy, args=(server, client), daemon=True)
            back.start()
            _copy(client, server)
            back.join()


TLS_RECORD = b"\x16"  # the first byte of a handshake
SSL_REQUEST = struct.pack("!ii", 8, 80877103)  # PostgreSQL's manual, section 54.7


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
