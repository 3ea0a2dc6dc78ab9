"""Who may come in behind an ingress, and by what address they are counted."""

import base64
from contextlib import ExitStack

import pytest
from conftest import PER_ADDRESS, USER
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect


def basic(user, password):
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def test_a_password_is_asked_for_everywhere(market):
    site = market.ingress
    for path in ("/api/v1/symbols", "/api/v1/latest", "/api/v1/stream", "/status", "/app.js", "/nothing"):
        refused = site.get(path, headers={"Accept": "*/*"})
        assert refused.status_code == 401 and "Basic" in refused.headers["WWW-Authenticate"], path
    for wrong in [(USER[0], "wrong"), ("joao", USER[1]), ("", ""), (USER[0], USER[1] + " ")]:
        assert site.get("/api/v1/symbols", headers=basic(*wrong)).status_code == 401, wrong
    for nonsense in ("Basic", "Basic !!!", "Basic " + "A" * 5000, "Bearer " + USER[1]):
        assert site.get("/api/v1/symbols", headers={"Authorization": nonsense}).status_code == 401, nonsense
    for right in (USER, ("joao", "another one")):
        assert site.get("/api/v1/symbols", headers=basic(*right)).status_code == 200
        site.session.cookies.clear()
    with pytest.raises(InvalidStatus) as refused:
        connect(f"ws://{site.address}/ws")
    assert refused.value.response.status_code == 401
    with connect(f"ws://{site.address}/ws", additional_headers=basic(*USER)) as socket:
        assert socket.recv(timeout=20)


def test_the_cookie_of_a_tls_ingress_is_secure(market):
    site = market.ingress
    by_tls = site.get("/api/v1/symbols", headers={**basic(*USER), "X-Forwarded-Proto": "https"})
    site.session.cookies.clear()
    assert by_tls.status_code == 200
    if "Set-Cookie" in by_tls.headers:
        assert "; Secure" in by_tls.headers["Set-Cookie"]
    plain = market.guarded.session.post(
        market.guarded.url + "/login",
        data={"token": "a-token-of-some-length"},
        headers={"X-Forwarded-Proto": "https"},
        allow_redirects=False,
        timeout=10,
    )
    market.guarded.session.cookies.clear()
    assert "Secure" not in plain.headers["Set-Cookie"], "nobody told this one to trust the header"


def test_connections_are_counted_by_the_address_that_the_ingress_tells(market):
    site = market.ingress

    def join(stack, forwarded):
        headers = {**basic(*USER), "X-Forwarded-For": forwarded}
        stack.enter_context(connect(f"ws://{site.address}/ws", additional_headers=headers))

    def refused(forwarded):
        with ExitStack() as stack, pytest.raises(InvalidStatus) as error:
            join(stack, forwarded)
        return error.value.response.status_code

    with ExitStack() as stack:
        for _ in range(PER_ADDRESS):
            join(stack, "203.0.113.7")
        assert refused("203.0.113.7") == 429
        # What a client writes itself stands before the ingress's own word.
        assert refused("198.51.100.1, 203.0.113.7") == 429
        for _ in range(PER_ADDRESS):
            join(stack, "203.0.113.7, 198.51.100.1")
        # Who has one address of IPv6 has all of its network.
        for last in range(PER_ADDRESS):
            join(stack, f"2001:db8::{last + 1}")
        assert refused("2001:db8::ffff") == 429
        join(stack, "2001:db8:0:1::1")


def test_where_no_ingress_is_trusted_the_header_says_nothing(market):
    with ExitStack() as stack:
        for i in range(PER_ADDRESS + 3):
            headers = {"X-Forwarded-For": "203.0.113.7"}
            stack.enter_context(connect(f"ws://{market.memory.address}/ws", additional_headers=headers))


def test_who_guesses_waits(market):
    """By the address that the ingress tells: others are not made to wait."""
    site = market.ingress
    guesser, other = ({"X-Forwarded-For": address} for address in ("203.0.113.7", "203.0.113.8"))
    answers = [site.get("/api/v1/symbols", headers={**basic(USER[0], f"guess {number}"), **guesser}).status_code for number in range(12)]
    assert answers == [401] * 10 + [429] * 2
    braked = site.get("/api/v1/symbols", headers={**basic(*USER), **guesser})
    assert braked.status_code == 429 and "try again in a minute" in braked.json()["error"], "what it tells is not looked at"
    assert site.get("/api/v1/symbols", headers={**basic(*USER), **other}).status_code == 200
    site.session.cookies.clear()
    # Who tells nothing guesses nothing.
    assert site.get("/api/v1/symbols", headers=guesser).status_code == 401


def test_a_name_of_somebody_else_is_not_answered_to(market):
    """A page elsewhere may point a name of its own to 127.0.0.1."""
    site = market.memory
    for name, status in (("evil.example:8080", 421), ("localhost", 200), (site.address, 200), ("[::1]:8080", 200)):
        for path in ("/", "/api/v1/symbols"):
            assert site.get(path, headers={"Host": name}).status_code == status, (name, path)
    with pytest.raises(InvalidStatus) as refused:
        connect(f"ws://{site.address}/ws", additional_headers={"Origin": "http://evil.example"})
    assert refused.value.response.status_code == 403
    # Behind an ingress it decides.
    assert market.ingress.get("/login", headers={"Host": "prices.example"}).status_code == 200
