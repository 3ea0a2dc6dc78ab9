"""The object store is reached by TLS with an authority of one's own; one that cannot prove who it is gets no request."""

import os
import socket
import ssl
import subprocess
import threading
from urllib.parse import urlsplit

import pytest

from certificates import Authority
from services import BINARIES


class Front:
    """TLS in front of the stack's store, with a certificate for 127.0.0.1; counts who came in."""

    def __init__(self, authority, store):
        self.store, self.came_in = store, 0
        certificate, key, _ = authority.issue("store", host="127.0.0.1")
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate, key)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.greet, args=[connection], daemon=True).start()

    def greet(self, connection):
        try:
            client = self.context.wrap_socket(connection, server_side=True)
            # A client that does not like the certificate says so after it.
            first = client.recv(1 << 16)
        except OSError:
            return
        if not first:
            return
        self.came_in += 1
        server = socket.create_connection(self.store)
        server.sendall(first)
        threading.Thread(target=copy, args=[server, client], daemon=True).start()
        copy(client, server)

    def close(self):
        self.listener.close()


def copy(source, sink):
    try:
        while data := source.recv(1 << 16):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        sink.close()


@pytest.fixture
def front(world):
    store = urlsplit(world.environment["S3_ENDPOINT_URL"])
    front = Front(world.authority, (store.hostname, store.port))
    yield front
    front.close()


def once(world, endpoint, authority, prefix):
    """A refiner over an empty lake: it proves the store's conditions by writing, reading and deleting."""
    trusted = {"SSL_CERT_FILE": str(authority.file)} if authority else {}
    variables = {**os.environ, **world.environment, **trusted, "S3_ENDPOINT_URL": endpoint, "S3_PREFIX": prefix}
    return subprocess.run([BINARIES / "refiner", "once"], env=variables, capture_output=True, text=True, timeout=300)


def test_a_store_of_an_authority_of_ones_own(world, front):
    result = once(world, f"https://127.0.0.1:{front.port}", world.authority, "by-tls")
    assert result.returncode == 0, result.stderr
    assert front.came_in > 0


@pytest.mark.parametrize("wrong", ["authority", "host", "no authority"])
def test_a_store_that_cannot_prove_who_it_is_gets_no_request(world, front, tmp_path, wrong):
    host, authority = {
        "authority": lambda: ("127.0.0.1", Authority(tmp_path / "stranger", "another authority")),
        "host": lambda: ("localhost", world.authority),
        "no authority": lambda: ("127.0.0.1", None),
    }[wrong]()
    result = once(world, f"https://{host}:{front.port}", authority, "by-tls-refused")
    assert result.returncode == 2, result.stderr
    assert "certificate" in result.stderr.strip().splitlines()[-1], result.stderr
    assert front.came_in == 0
