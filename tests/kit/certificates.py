"""Certificates for servers on the loopback, as PEM files, and a server's TLS with one."""

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)
LOOPBACK = "127.0.0.1"


class Identity(NamedTuple):
    """The files of a certificate and of its key."""

    certificate: Path
    key: Path


def self_signed(folder: Path, name: str = "tls", *, host: str = LOOPBACK, ends: timedelta = DAY) -> Identity:
    """A new certificate for an address, which ends in so long; it vouches for itself, and may vouch for others."""
    return _made(folder, name, None, host, ends)


def signed(folder: Path, name: str, by: Identity, *, ends: timedelta = DAY, uri: str | None = None) -> Identity:
    """A new certificate that another one vouches for; `uri` is one more name in it."""
    return _made(folder, name, by, LOOPBACK, ends, uri)


def serving(folder: Path, *, host: str = LOOPBACK, ends: timedelta = DAY) -> tuple[ssl.SSLContext, Path]:
    """A server's TLS, and the file of the authority that vouches for it: itself."""
    made = self_signed(folder, host=host, ends=ends)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*made)
    return tls, made.certificate


def _made(folder: Path, name: str, by: Identity | None, host: str, ends: timedelta, uri: str | None = None) -> Identity:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer: Any = key
    if by is not None:
        issuer = x509.load_pem_x509_certificate(by.certificate.read_bytes()).subject
        signer = serialization.load_pem_private_key(by.key.read_bytes(), None)
    builder = x509.CertificateBuilder(
        issuer, subject, key.public_key(), x509.random_serial_number(), now - 2 * DAY, now + ends
    )
    others = () if uri is None else (x509.UniformResourceIdentifier(uri),)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host)), *others])
    may_sign = x509.BasicConstraints(ca=by is None, path_length=None)
    made = builder.add_extension(address, critical=False).add_extension(may_sign, critical=True)
    made = made.add_extension(_usage(authority=by is None), critical=True)
    identity = Identity(folder / f"{name}.crt", folder / f"{name}.key")
    identity.certificate.write_bytes(made.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    identity.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
    return identity


def _usage(*, authority: bool) -> x509.KeyUsage:
    """What the key may do: sign, and vouch for others if it is an authority's."""
    never = dict.fromkeys(
        (
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    return x509.KeyUsage(digital_signature=True, key_cert_sign=authority, crl_sign=authority, **never)
