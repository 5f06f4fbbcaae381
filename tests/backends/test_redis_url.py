"""What a Redis URL may say, what is said of one that is wrong, and that neither shows a password."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import pytest

from recloser.backends.redis_link import RedisLink
from recloser.backends.redis_url import parse_url, without_secrets
from recloser.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "hunter2-hunter2"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://h", "redis://h:6379/0"),
        ("redis://h/", "redis://h:6379/0"),
        ("REDIS://h:1/2/", "redis://h:1/2"),
        ("redis://my_redis:6380/3", "redis://my_redis:6380/3"),
        ("redis://h?db=3", "redis://h:6379/3"),
        ("redis://[::1]", "redis://[::1]:6379/0"),
        ("redis://[fe80::1%25eth0]:7/1", "redis://[fe80::1%eth0]:7/1"),
        ("rediss://u:p@h:6380/1", "rediss://h:6380/1"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock?db=0"),
        ("unix://u:p@/run/my%20redis.sock?db=4", "unix:///run/my redis.sock?db=4"),
        ("unix:///run/a@b.sock", "unix:///run/a@b.sock?db=0"),
        ("redis+sentinel://h/mymaster", "redis+sentinel://h:26379/mymaster/0"),
        ("redis+sentinel://:p@h1,h2:7,[::1]/my-master.1/5", "redis+sentinel://h1:26379,h2:7,[::1]:26379/my-master.1/5"),
        ("rediss+sentinel://h/m/?db=2", "rediss+sentinel://h:26379/m/2"),
        ("redis+cluster://h1,h2:7", "redis+cluster://h1:6379,h2:7"),
        ("redis+cluster://u:p@h/0", "redis+cluster://h:6379"),
        ("rediss+cluster://h:1", "rediss+cluster://h:1"),
    ],
)
def test_where_a_url_leads(url: str, address: str) -> None:
    """Every form of the URL is understood, with its default ports, and shown without the login."""
    assert str(parse_url(url)) == address
    assert RedisLink.from_url(url).address == address


@pytest.mark.parametrize(
    ("login", "settings"),
    [
        ("", {}),
        ("@", {}),
        (":p@", {"password": "p"}),
        ("u:p@", {"username": "u", "password": "p"}),
        ("u@", {"username": "u"}),
        ("u%40x:p%2F%23%3F%40%25%3A@", {"username": "u@x", "password": "p/#?@%:"}),
        ("u:a:b@", {"username": "u", "password": "a:b"}),
        ("u:p+q@", {"username": "u", "password": "p+q"}),
        ("u:a@b@", {"username": "u", "password": "a@b"}),
    ],
)
@pytest.mark.parametrize("form", ["redis://{}h", "unix://{}/s", "redis+sentinel://{}h/m", "redis+cluster://{}h"])
def test_who_logs_in(form: str, login: str, settings: dict[str, str]) -> None:
    """User and password are percent-decoded, and each part may be missing."""
    assert parse_url(form.format(login)).settings == settings


def test_options() -> None:
    """What redis-py calls so has the same name here; the timeout is a duration as elsewhere in Recloser."""
    target = parse_url("redis://h?client_name=me&timeout=500ms&username=u&password=a%20b")
    assert target.settings == {"client_name": "me", "username": "u", "password": "a b"}
    assert target.timeout == 0.5
    assert parse_url("redis://h?timeout=0.1").timeout == 0.1
    assert parse_url("redis://u:p@h?password=p").settings == {"username": "u", "password": "p"}
    assert RedisLink.from_url("redis://h?timeout=2s", timeout=0.5).timeout == 2.0
    assert RedisLink.from_url("redis://h", timeout=0.5).timeout == 0.5


def test_options_of_sentinels() -> None:
    """The Sentinels have a login of their own, and none by default; the TLS of the servers is theirs too."""
    target = parse_url("rediss+sentinel://u:p@h/m?sentinel_username=su&sentinel_password=sp&ssl_cert_reqs=none")
    tls = {"ssl_cert_reqs": "none", "ssl_check_hostname": False}
    assert target.settings == {"username": "u", "password": "p", **tls}
    assert target.sentinel_settings == {"username": "su", "password": "sp", **tls}
    assert parse_url("redis+sentinel://u:p@h/m").sentinel_settings == {}


@pytest.mark.parametrize("scheme", ["rediss://h", "rediss+sentinel://h/m", "rediss+cluster://h"])
@pytest.mark.parametrize(
    ("option", "settings"),
    [
        ("ssl_check_hostname=no", {"ssl_check_hostname": False}),
        ("ssl_cert_reqs=optional", {"ssl_check_hostname": True, "ssl_cert_reqs": "optional"}),
        ("ssl_cert_reqs=CERT_NONE", {"ssl_check_hostname": False, "ssl_cert_reqs": "none"}),
        ("ssl_min_version=1.3", {"ssl_check_hostname": True, "ssl_min_version": ssl.TLSVersion.TLSv1_3}),
        ("ssl_ciphers=HIGH", {"ssl_check_hostname": True, "ssl_ciphers": "HIGH"}),
    ],
)
def test_options_of_tls(scheme: str, option: str, settings: dict[str, Any]) -> None:
    """The host's name is checked unless told not to, whatever the version of redis-py does by default."""
    assert parse_url(f"{scheme}?{option}").settings == settings


def test_files_of_tls(tmp_path: Path) -> None:
    """Files that are there are handed on."""
    file = tmp_path / "a.pem"
    file.touch()
    url = f"rediss://h?ssl_ca_certs={file}&ssl_certfile={file}&ssl_keyfile={file}&ssl_ca_path={tmp_path}"
    assert parse_url(url).settings == {
        "ssl_check_hostname": True,
        "ssl_ca_certs": str(file),
        "ssl_certfile": str(file),
        "ssl_keyfile": str(file),
        "ssl_ca_path": str(tmp_path),
    }


@pytest.mark.parametrize("option", ["ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_ca_path"])
def test_a_file_of_tls_that_is_missing(tmp_path: Path, option: str) -> None:
    """It is named where it was written, not when the first connection fails."""
    missing = str(tmp_path / "none.pem")
    with pytest.raises(ConfigurationError, match=option) as caught:
        parse_url(f"rediss://h?{option}={missing}")
    assert missing in caught.value.allowed


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "redis://host:6379/0"),
        (None, "redis://host:6379/0"),
        (b"redis://h", "redis://host:6379/0"),
        ("redis:h", "redis://host:6379/0"),
        ("memcached://h", "begins with one of redis://, rediss://, unix://"),
        ("redis+tls://h", "begins with one of redis://, rediss://, unix://"),
        ("redis://", "a host is missing"),
        ("redis:///0", "a host is missing"),
        ("redis://:p@", "a host is missing"),
        ("redis://h1,h2", "a host is a name or an address"),
        ("redis://h:", "a host is a name or an address"),
        ("redis://h:x", "a host is a name or an address"),
        ("redis://h:-1", "a host is a name or an address"),
        ("redis://h:0", "a port is 1 to 65535"),
        ("redis://h:65536", "a port is 1 to 65535"),
        ("redis://::1", "IPv6 in brackets"),
        ("redis://[::x]", "IPv6 in brackets"),
        ("redis://[::1", "IPv6 in brackets"),
        ("redis://-", "a host is a name"),
        ("redis://h/x", "the database is a whole number"),
        ("redis://h/-1", "the database is a whole number"),
        ("redis://h/1/2", "nothing stands after the database"),
        ("redis://h/1?db=1", "the database is given once"),
        ("redis://h?db=x", "the option db is a whole number"),
        ("redis://h?db=1&db=2", "the option db is given once"),
        ("redis://h/0#x", "percent-encoded"),
        ("redis://h/0 ", "percent-encoded"),
        ("redis://u:a/b@h", "a / in the user or the password must be percent-encoded"),
        ("redis://u:a?b@h", "a ? in the password, must be percent-encoded"),
        ("redis://u:p@h?password=q", "the password is given once"),
        ("redis://h?timeout=0", "the option timeout is seconds above 0"),
        ("redis://h?timeout=soon", "the option timeout is seconds above 0"),
        ("redis://h?timeout=inf", "the option timeout is seconds above 0"),
        ("redis://h?client_name=", "the option client_name is not empty"),
        ("redis://h?=1", "an option is written name=value"),
        ("unix://run/redis.sock", "the socket is an absolute path"),
        ("unix://", "the socket is an absolute path"),
        ("unix://u:p@h/s", "the socket is an absolute path"),
        ("redis+sentinel://h", "the name by which the Sentinels know the service is missing"),
        ("redis+sentinel://h/", "the name by which the Sentinels know the service is missing"),
        ("redis+sentinel:///m", "a host is missing"),
        ("redis+sentinel://h1,,h2/m", "a host is missing"),
        ("redis+sentinel://h/m/x", "the database is a whole number"),
        ("redis+cluster://", "a host is missing"),
        ("redis+cluster://h/1", "a cluster has no database but 0"),
        ("redis+cluster://h?db=0", "a cluster has no option db, and no database but 0"),
        ("redis://h?ssl_ca_certs=/x", "the option ssl_ca_certs needs TLS, rediss instead of redis"),
        ("redis://h?sentinel_password=x", "the option sentinel_password is for Sentinels"),
        ("redis://h?pasword=x", "there is no option pasword: did you mean password?"),
        ("redis://h?timout=1", "there is no option timout: did you mean timeout?"),
        ("rediss://h?ssl_ca_cert=/x", "there is no option ssl_ca_cert: did you mean ssl_ca_certs?"),
        ("redis://h?zzz=1", "the options are client_name, db, password, timeout, username"),
        ("redis://h?socket_timeout=1", "there is no option socket_timeout: its name here is timeout"),
        ("redis://h?decode_responses=1", "there is no option decode_responses: Recloser sees to that itself"),
        ("rediss://h?ssl_cert_reqs=maybe", "the option ssl_cert_reqs is one of required, optional, none"),
        ("rediss://h?ssl_check_hostname=x", "the option ssl_check_hostname is one of"),
        ("rediss://h?ssl_min_version=1.1", "the option ssl_min_version is one of 1.2, 1.3"),
        (f"rediss://h?ssl_keyfile={__file__}", "ssl_keyfile needs ssl_certfile"),
        ("rediss://h?ssl_cert_reqs=none&ssl_check_hostname=1", "ssl_check_hostname needs a certificate"),
    ],
)
def test_a_url_that_is_wrong(url: Any, says: str) -> None:
    """It is refused with what is wrong and what is allowed, before anything is connected to."""
    with pytest.raises(ConfigurationError) as caught:
        RedisLink.from_url(url)
    assert caught.value.key == "backend"
    assert says in caught.value.allowed
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["redis", "rediss+cluster", "redis+sentinel", "unix"])
def test_a_url_that_is_wrong_shows_its_form(scheme: str) -> None:
    """The forms of a scheme need not be looked up."""
    with pytest.raises(ConfigurationError) as caught:
        parse_url(f"{scheme}://h:h")
    assert f"it has the form {scheme}://[user:password@]" in caught.value.allowed


LEAKY = [
    # A password in each place where one can stand, in URLs that are wrong in each way.
    f"redis://:{SECRET}@",
    f"redis://{SECRET}@",
    f"redis://user:{SECRET}",
    f"redis://h:{SECRET}",
    f"redis://:{SECRET}@h:x",
    f"redis://:{SECRET}@h:99999",
    f"redis://:{SECRET}@h/x",
    f"redis://:{SECRET}@h/0?x=1",
    f"redis://:{SECRET}@h?db=x",
    f"redis://:{SECRET}@h#x",
    f"redis://:x#{SECRET}@h",
    f"redis://:x/{SECRET}@h",
    f"redis://:x?{SECRET}@h",
    f"redis://:x?password={SECRET}@h",
    f"redis://:x@{SECRET}@h/x",
    f"redis://:x%40{SECRET}@h/x",
    f"redis://:x {SECRET}@h",
    f"redis://:x\n{SECRET}@h",
    f"redis://:[{SECRET}@h/x",
    f"redis://:{SECRET}]@[h",
    f"redis://h?password={SECRET}&x=1",
    f"redis://h?pasword={SECRET}",
    f"redis://h?username={SECRET}:{SECRET}@",
    f"redis://h?{SECRET}",
    f"redis://h?x=1&{SECRET} ",
    f"redis://h?password=x#{SECRET}",
    f"redis://:{SECRET}@h?password=other",
    f"redis://:other@h?password={SECRET}",
    f"rediss://h?ssl_password={SECRET}&ssl_keyfile=/none",
    f"redis+sentinel://:{SECRET}@h",
    f"redis+sentinel://h/m?sentinel_password={SECRET}&x",
    f"redis+cluster://:{SECRET}@h/3",
    f"unix://:{SECRET}@h/s",
    f"unix://{SECRET}@",
    f"unix://:{SECRET}@/s?x=1",
    f"http://:{SECRET}@h",
    f"{SECRET}@h",
    f":{SECRET}",
    f"redis:{SECRET}@h",
    f"://{SECRET}",
    f"{SECRET}://h",
    f"redis://h1,user:{SECRET}/0",
]


@pytest.mark.parametrize("url", LEAKY)
def test_no_secret_is_shown(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever is wrong with a URL, its password is in no text, representation, chained exception or log line."""
    caplog.set_level(0)
    with pytest.raises(ConfigurationError) as caught:
        parse_url(url)
    error: BaseException | None = caught.value
    assert error is not None
    assert error.__cause__ is None
    assert error.__context__ is None
    assert SECRET not in f"{error} {error!r} {error.args} {vars(error)} {caplog.text}"
    assert SECRET not in without_secrets(url)


def test_a_target_shows_no_secret() -> None:
    """Nor does what was understood."""
    url = f"rediss+sentinel://user:{SECRET}@h/m?sentinel_password={SECRET}&ssl_password={SECRET}"
    link = RedisLink.from_url(url)
    assert SECRET not in f"{parse_url(url)} {parse_url(url)!r} {link!r} {link} {link.address}"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://u:p@h:1/x?timeout=1&password=p&x=y", "redis://***@h:1/x?timeout=1&password=***&x=***"),
        ("unix://u:p@/s?db=1", "unix://***@/s?db=1"),
        ("redis+sentinel://h1,[::1]:7/m", "redis+sentinel://h1,[::1]:7/m"),
        ("redis://user:word", "redis://***"),
        ("memcached://h", "***"),
        ("", ""),
        ("x", "***"),
        (7, "<int>"),
    ],
)
def test_how_a_wrong_url_is_shown(url: Any, shown: str) -> None:
    """As far as it is certain to hold no secret."""
    assert without_secrets(url) == shown
