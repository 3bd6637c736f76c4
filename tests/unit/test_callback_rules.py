"""Where a callback may go, how it is signed, when it is tried again."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network

import pytest

from function_runner.callback_rules import MAX_ATTEMPTS, Target, Targets, next_try, signature
from function_runner.errors import CallbackRefused, SettingsError
from function_runner.settings import Settings

NOW = datetime(2026, 1, 31, tzinfo=UTC)
SOMEWHERE = Target("https", "hooks.example.com", 443, "/")

NOT_PUBLIC = {
    "loopback": "127.0.0.1",
    "all of loopback": "127.255.0.9",
    "this host": "0.0.0.0",
    "this network": "0.1.2.3",
    "private 10": "10.1.2.3",
    "private 172": "172.17.0.1",
    "private 192": "192.168.1.10",
    "link-local": "169.254.10.10",
    "cloud metadata": "169.254.169.254",
    "carrier's shared": "100.64.0.1",
    "documentation": "192.0.2.1",
    "benchmarking": "198.18.0.1",
    "multicast": "224.0.0.1",
    "multicast that routers pass on": "233.252.0.1",
    "reserved": "240.0.0.1",
    "broadcast": "255.255.255.255",
    "IPv6 loopback": "::1",
    "IPv6 unspecified": "::",
    "IPv6 unique local": "fd00::1",
    "IPv6 link-local": "fe80::1",
    "IPv6 site-local": "fec0::1",
    "IPv6 multicast": "ff02::1",
    "IPv6 global multicast": "ff0e::1",
    "IPv6 documentation": "2001:db8::1",
    "cloud metadata by IPv6": "fd00:ec2::254",
    "mapped loopback": "::ffff:127.0.0.1",
    "mapped private": "::ffff:10.0.0.1",
    "mapped metadata": "::ffff:169.254.169.254",
    "compatible loopback": "::127.0.0.1",
    "6to4 of loopback": "2002:7f00:1::1",
    "NAT64 of private": "64:ff9b::a00:1",
    "local NAT64": "64:ff9b:1::a00:1",
    "Teredo": "2001::1",
}


class TestAddresses:
    @pytest.mark.parametrize("address", NOT_PUBLIC.values(), ids=NOT_PUBLIC)
    def test_what_is_not_public_is_refused(self, address):
        assert not Targets().allows(SOMEWHERE, ip_address(address))

    @pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8"])
    def test_what_is_public_is_allowed(self, address):
        assert Targets().allows(SOMEWHERE, ip_address(address))

    @pytest.mark.parametrize("address", NOT_PUBLIC.values(), ids=NOT_PUBLIC)
    def test_as_a_literal_it_is_refused_at_the_door(self, address):
        host = f"[{address}]" if ":" in address else address
        with pytest.raises(CallbackRefused, match="not a public address; CALLBACK_ALLOWED_HOSTS"):
            Targets().parse(f"http://{host}/")

    def test_our_own_networks_are_not_public_whatever_their_addresses(self):
        targets = Targets(own=[ip_network("11.0.0.0/24")])
        assert not targets.allows(SOMEWHERE, ip_address("11.0.0.7"))
        assert targets.allows(SOMEWHERE, ip_address("11.0.1.7"))


class TestAllowed:
    def test_a_network(self):
        targets = Targets(["192.168.1.0/24", "fd00::/8"])
        assert targets.allows(SOMEWHERE, ip_address("192.168.1.7"))
        assert targets.allows(SOMEWHERE, ip_address("::ffff:192.168.1.7"))
        assert targets.allows(SOMEWHERE, ip_address("fd00::7"))
        assert not targets.allows(SOMEWHERE, ip_address("192.168.2.7"))

    def test_a_host_by_its_name_wherever_it_leads(self):
        targets = Targets(["NAS.lan"])
        assert targets.allows(targets.parse("http://nas.LAN:9/"), ip_address("10.0.0.1"))
        assert targets.allows(targets.parse("http://nas.lan./"), ip_address("10.0.0.1"))
        assert not targets.allows(targets.parse("http://other.lan/"), ip_address("10.0.0.1"))

    def test_one_port_of_it_only(self):
        targets = Targets(["nas.lan:8443", "10.0.0.2:80", "[fd00::1]:8080"])
        assert targets.allows(targets.parse("https://nas.lan:8443/"), ip_address("10.0.0.1"))
        assert not targets.allows(targets.parse("https://nas.lan/"), ip_address("10.0.0.1"))
        assert targets.parse("http://10.0.0.2/").port == 80
        assert targets.parse("http://[FD00:0::1]:8080/").host == "fd00:0::1"
        with pytest.raises(CallbackRefused):
            targets.parse("http://10.0.0.2:81/")

    @pytest.mark.parametrize("entry", ["10.0.0.1", "fd00::1"])
    def test_a_bare_address(self, entry):
        assert Targets([entry]).allows(Target("http", entry, 1, "/"), ip_address(entry))

    @pytest.mark.parametrize(
        "entry", ["http://nas.lan", "nas.lan/path", "nas lan", "me@nas", "10.0.0.0/33", "nas:port", ":80", "*.lan", "["]
    )
    def test_nonsense_is_refused_at_start_and_named(self, entry):
        with pytest.raises(SettingsError, match=r"CALLBACK_ALLOWED_HOSTS: .* none of host, host:port"):
            Targets([entry])


class TestUrls:
    def test_it_works(self):
        assert Targets().parse("https://hooks.example.com/a/b?c=d&e") == Target(
            "https", "hooks.example.com", 443, "/a/b?c=d&e"
        )
        assert Targets().parse("HTTP://1.1.1.1:8080") == Target("http", "1.1.1.1", 8080, "/")
        assert Targets().parse("http://[2606:4700::1111]/").host == "2606:4700::1111"

    @pytest.mark.parametrize(
        ("url", "reason"),
        [
            ("", "must begin with"),
            ("hooks.example.com", "must begin with"),
            ("ftp://example.com/", "must begin with"),
            ("file:///etc/passwd", "must begin with"),
            ("gopher://example.com/", "must begin with"),
            ("http:///path", "names no host"),
            ("http://?x", "names no host"),
            ("http://me:secret@example.com/", "user name or password"),
            ("http://me@example.com/", "user name or password"),
            ("http://example.com\\@127.0.0.1/", "percent-encoded"),
            ("http://example.com/#top", "fragment"),
            ("http://example.com:99999/", "not a URL"),
            ("http://example.com:0/", "names no host"),
            ("http://example.com:x/", "not a URL"),
            ("http://[::1/", "not a URL"),
            ("http://[fe80::1%25eth0]/", "names no host|not a URL"),
            ("http://exa mple.com/", "percent-encoded"),
            ("http://example.com/a b", "percent-encoded"),
            ("http://example.com/\r\nX: y", "percent-encoded"),
            ("http://b\u00fccher.example/", "percent-encoded"),
            ("http://\u2488\u2488/", "percent-encoded|not a URL"),
        ],
    )
    def test_what_is_no_url_for_a_callback_is_refused_with_the_reason(self, url, reason):
        with pytest.raises(CallbackRefused, match=reason) as caught:
            Targets().parse(url)
        assert [error.pointer for error in caught.value.errors] == ["/callback_url"]


class TestSignature:
    def test_it_is_the_one_of_standard_webhooks(self):
        # Their published example.
        key = Settings(callback_secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").callback_key
        body = b'{"test": 2432232314}'
        expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        assert signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body) == expected

    def test_a_secret_of_another_form_is_taken_as_it_is(self):
        assert Settings(callback_secret="sixteen letters!").callback_key == b"sixteen letters!"
        assert Settings().callback_key == b""

    @pytest.mark.parametrize(("secret", "reason"), [("short", "at least 16"), ("whsec_not base64 at all", "base64")])
    def test_one_that_protects_nothing_is_refused(self, secret, reason):
        with pytest.raises(SettingsError, match=f"CALLBACK_SECRET.*{reason}") as caught:
            Settings.from_environment({"CALLBACK_SECRET": secret})
        assert secret not in str(caught.value)

    def test_it_is_not_shown(self):
        secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
        assert secret[6:] not in repr(Settings(callback_secret=secret)) + str(Settings(callback_secret=secret))


class TestNextTry:
    def test_pauses_grow_and_end(self):
        pauses = [next_try(attempts, NOW, chance=1) - NOW for attempts in range(1, MAX_ATTEMPTS)]
        assert [pause.total_seconds() for pause in pauses] == [10, 40, 160, 640, 2560, 3600, 3600]
        assert next_try(MAX_ATTEMPTS, NOW) is None

    def test_they_differ(self):
        assert next_try(1, NOW, chance=0) == NOW + timedelta(seconds=5)
        assert len({next_try(3, NOW) for _ in range(20)}) > 1
