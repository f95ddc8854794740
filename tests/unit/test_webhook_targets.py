"""Where webhooks may be: URLs and addresses that are refused, in every disguise, and those that are not."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aragora_persist.errors import InvalidValueError
from aragora_persist.storage.webhooks.targets import Target, address_problem, parse_target

ALLOWED = (ip_network("10.1.0.0/16"), ip_network("::1/128"))

PUBLIC = [
    "1.1.1.1",
    "93.184.216.34",
    "172.32.0.1",
    "192.169.0.1",
    "2606:4700::1111",
    "::ffff:1.1.1.1",
    "64:ff9b::101:101",
]
NOT_PUBLIC = [
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "127.0.0.1", "127.255.255.254"),  # noqa: S104 - refused
    *("169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.0.1"),
    *("198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1"),
    *("255.255.255.255", "100.100.100.200", "168.63.129.16"),
    *("::", "::1", "::ffff:127.0.0.1", "::ffff:a9fe:a9fe", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::1"),
    *(
        "2002:7f00:1::1",
        "2002:101:101::1",
        "2001::1",
        "2001:db8::1",
        "2001:10::1",
        "3fff::1",
        "fc00::1",
        "fd00:ec2::254",
    ),
    *("fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "100::1", "5f00::1", "2606:4700::1%eth0"),
]


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_may_be_reached(address: str) -> None:
    """Over TLS; without it, nothing public may."""
    assert address_problem(address) == ""
    assert "plain HTTP" in address_problem(address, is_tls=False)
    assert "plain HTTP" in address_problem(address, ALLOWED, is_tls=False)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_address_that_only_this_machine_reaches_is_refused(address: str) -> None:
    """Private, loopback, link-local, metadata, multicast and reserved ones, also within an IPv6 address."""
    assert address_problem(address) == "is not a public address"
    assert address_problem(address, ALLOWED[1:]) == ("" if address == "::1" else "is not a public address")


def test_an_allowed_network_is_reached_in_every_form() -> None:
    """With and without TLS, mapped into IPv6 too; a neighbour is not."""
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::a01:203", "::1"):
        assert address_problem(address, ALLOWED) == ""
        assert address_problem(address, ALLOWED, is_tls=False) == ""
    assert address_problem("10.2.0.1", ALLOWED)
    assert address_problem("no address", ALLOWED) == "is no address"


@settings(max_examples=200)
@given(st.ip_addresses(v=4))
def test_the_rule_agrees_with_pythons_own(address: IPv4Address) -> None:
    """What Python does not call global is refused, whatever form it comes in."""
    for text in (str(address), f"::ffff:{address}", f"64:ff9b::{int(address) >> 16:x}:{int(address) & 0xFFFF:x}"):
        assert bool(address_problem(text)) or ip_address(str(address)).is_global


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://example.com", Target("example.com", 443, "/", is_tls=True)),
        ("https://EXAMPLE.com:8443/a/b?c=d&e", Target("example.com", 8443, "/a/b?c=d&e", is_tls=True)),
        ("https://xn--bcher-kva.example./%C3%A9", Target("xn--bcher-kva.example.", 443, "/%C3%A9", is_tls=True)),
        ("https://93.184.216.34/", Target("93.184.216.34", 443, "/", is_tls=True)),
        ("https://[2606:4700::1111]:444/", Target("2606:4700::1111", 444, "/", is_tls=True)),
        ("https://a_b.example.com?x", Target("a_b.example.com", 443, "/?x", is_tls=True)),
        ("https://7.example.com/", Target("7.example.com", 443, "/", is_tls=True)),
    ],
)
def test_a_url_of_the_web_is_taken_apart(url: str, target: Target) -> None:
    """Into what a request needs."""
    assert parse_target("test", url) == target


REFUSED = [
    *(
        "http://example.com/",
        "ftp://example.com/",
        "//example.com/",
        "example.com",
        "https:example.com",
        "https:///x",
        "",
    ),
    *("https://user@example.com/", "https://:pw@example.com/", "https://@example.com/", "https://example.com/#f"),
    *("https://example.com#", "https://example.com:0/", "https://example.com:99999/", "https://example.com:x/"),
    *("https://exa mple.com/", "https://example.com/\r\nX: y", "https://example.com/\t", "https://bücher.example/"),
    *(
        "https://example.com\\@127.0.0.1/",
        "https://ex%61mple.com/",
        "https://-a.com/",
        "https://a..com/",
        "https://a-/",
    ),
    *("https://" + "a" * 64 + ".com/", "https://" + "a." * 130 + "com/", "https://example.com/" + "x" * 2000),
    *("https://localhost/", "https://LOCALHOST./", "https://db.localhost/", "https://printer.local/"),
    *("https://metadata.google.internal/", "https://[::1]/", "https://[fe80::1%25eth0]/", "https://[::ffff:7f00:1]/"),
    *("https://127.0.0.1/", "https://127.1/", "https://2130706433/", "https://0x7f000001/", "https://0x7f.1/"),
    *("https://0177.0.0.1/", "https://127.0.0.1./", "https://127.0.0.0x1/", "https://0/", "https://1.1.1.1./"),
    *(
        "https://169.254.169.254/latest/",
        "https://[64:ff9b::a9fe:a9fe]/",
        "https://[v1.x]/",
        "https://[/",
        "https://a]/",
    ),
    *("https://1.2.3.4.5/", "https://0x/", "https://１２７.0.0.1/", "https://127。0。0。1/"),  # noqa: RUF001 - a disguise
]


@pytest.mark.parametrize("url", [*REFUSED, None, 7, b"https://example.com/", "https://example.com/\ud800"])
def test_any_other_url_is_refused(url: Any) -> None:  # noqa: ANN401 - any value at all
    """By its field, and unquoted: URLs of webhooks hold secrets."""
    with pytest.raises(InvalidValueError) as refused:
        parse_target("webhook.create", url)

    assert (refused.value.operation, refused.value.target) == ("webhook.create", "url")
    assert not url or str(url) not in str(refused.value)


def test_allowed_networks_make_local_urls_possible() -> None:
    """Plain HTTP to a name, whose addresses are looked at when it is known; addresses only of these networks."""
    assert parse_target("test", "http://10.1.2.3:8080/x", ALLOWED) == Target("10.1.2.3", 8080, "/x", is_tls=False)
    assert parse_target("test", "http://localhost/", ALLOWED) == Target("localhost", 80, "/", is_tls=False)
    assert parse_target("test", "https://[::1]/", ALLOWED).host == "::1"
    for url in ("http://1.1.1.1/", "http://10.2.0.1/", "https://10.2.0.1/", "https://127.0.0.1/"):
        with pytest.raises(InvalidValueError):
            parse_target("test", url, ALLOWED)


@settings(max_examples=300)
@given(
    st.text(max_size=40)
    | st.text("0123456789abcdefx.:[]%/@#?\\-", max_size=40)
    | st.builds("https://{}".format, st.text("0123456789abfx.:[]%/@#-", max_size=30))
)
def test_whatever_is_accepted_leads_where_it_says(url: str) -> None:
    """A host that is an address to the system's resolver is one to the rule too, and public."""
    try:
        host = parse_target("test", url).host
    except InvalidValueError:
        return
    try:
        found = socket.getaddrinfo(host, 443, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        return  # a name
    assert [address_problem(str(place[0])) for *_, place in found] == [""] * len(found)
