"""The TLS context: whom it trusts, and which files cannot be used."""

import asyncio
import ssl

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from middleware.errors import ConfigError
from middleware.transports.tls import TlsContext
from middleware.transports.transport_settings import TransportSettings


@pytest.fixture
def authority(tmp_path):
    """A private authority, in a file."""
    made = trustme.CA()
    made.cert_pem.write_to_path(tmp_path / "ca.pem")
    return made


async def test_the_public_authorities_are_loaded_once_and_those_of_the_environment_never(
    authority, tmp_path, monkeypatch
):
    """An environment variable must not choose whom a client trusts."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    shared = TlsContext(TransportSettings())
    first, second = await asyncio.gather(shared.get(), shared.get())
    assert first is second is await shared.get()
    with_certificate = tmp_path / "client.pem"
    authority.issue_cert("client@example.org").private_key_and_cert_chain_pem.write_to_path(with_certificate)
    other = await TlsContext(TransportSettings(client_certificate_file=str(with_certificate))).get()
    for context in (first, other):
        assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
        assert len(context.get_ca_certs()) > 1


def files_of(authority, folder):
    """A certificate and its key, which needs a passphrase."""
    mine = authority.issue_cert("client@example.org")
    mine.cert_chain_pems[0].write_to_path(folder / "client.crt")
    key = serialization.load_pem_private_key(mine.private_key_pem.bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"passphrase"),
    )
    (folder / "client.key").write_bytes(locked)
    return {
        "client_certificate_file": str(folder / "client.crt"),
        "client_key_file": str(folder / "client.key"),
    }


def test_a_file_that_cannot_be_used_is_named_with_the_reason(authority, tmp_path):
    """A key with a passphrase is one: there is no terminal to ask for it."""
    files = files_of(authority, tmp_path)
    certificate = "TransportSettings.client_certificate_file: cannot be used:"
    both = f"{files['client_certificate_file']}, {files['client_key_file']}"
    missing = "/no/such.pem: [Errno 2] No such file or directory"
    for settings, reason in [
        ({"ca_file": "/no/such.pem"}, f"TransportSettings.ca_file: cannot be used: {missing}"),
        ({"client_key_file": "x"}, "TransportSettings.client_key_file: needs client_certificate_file"),
        ({"client_certificate_file": "/no/such.pem"}, f"{certificate} {missing}"),
        ({**files, "client_key_file": "/no/such.pem"}, f"TransportSettings.client_key_file: cannot be used: {missing}"),
        (files, f"{certificate} {both}: the key has a passphrase"),
    ]:
        with pytest.raises(ConfigError) as caught:
            TlsContext(TransportSettings(**settings))
        assert str(caught.value) == reason
