"""Keys that senders publish: which are asked for, how they are fetched, and how long they stay."""

import base64
import datetime as dt
import json
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from benchmarks.signed_deliveries import CASES, EC, NOW, OTHER_EC, TOPIC, VALIDITY
from benchmarks.signing_keys import certificate, rsa_key, rsa_pem
from webhook_dedup.errors import ConfigError, SignatureError
from webhook_dedup.providers import Parsed, load_secrets, raw_headers
from webhook_dedup.providers.schemes import PayPalSignature, PlaidJwt, SnsSignature
from webhook_dedup.providers.schemes.fetching import KeyCache, fetch_https
from webhook_dedup.testing import FakeClock

PEM = certificate("sns.amazonaws.com", *VALIDITY)
SNS_HOST = "https://sns.eu-west-1.amazonaws.com"


class Asked:
    """A fetcher that answers from a list, and remembers what it was asked."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.questions = []

    def __call__(self, *question):
        self.questions.append(question)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def code_of(scheme, message, secrets, now=NOW):
    with pytest.raises(SignatureError) as caught:
        scheme.verify(message, secrets, now)
    return caught.value.code


def sns_message(**fields):
    sealed = json.loads(CASES["sns-fetched"].message().body)
    return Parsed([], json.dumps({**sealed, **fields}).encode())


def sns(*answers, **options):
    fetch = Asked(*answers or (PEM,))
    return SnsSignature(fetch_certificate=fetch, **options), fetch


ARN = (TOPIC.encode(),)


@pytest.mark.parametrize(
    "url",
    [
        "http://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0.pem",
        "https://sns.eu-west-1.amazonaws.com.evil.example/SimpleNotificationService-0.pem",
        "https://evil.example/sns.eu-west-1.amazonaws.com/SimpleNotificationService-0.pem",
        "https://sns.eu-west-1.amazonaws.com@evil.example/SimpleNotificationService-0.pem",
        "https://sns.eu-west-1.amazonaws.com:444/SimpleNotificationService-0.pem",
        "https://s3.amazonaws.com/SimpleNotificationService-0.pem",
        "https://sns.s3-us-west-2.amazonaws.com/SimpleNotificationService-0.pem",
        "https://sns.eu-west-1.amazonaws.com/?Action=GetEndpointAttributes&x=.pem",
        "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0.pem?x=1",
        "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0.pem\n",
        "https://sns.eu-west-1.amazonaws.com/../SimpleNotificationService-0.pem",
        "https://sns.eu-west-1.amazonaws.com\\.evil.example/SimpleNotificationService-0.pem",
        "",
    ],
)
def test_only_genuine_certificate_urls_are_asked(url):
    """A certificate anywhere else than at SNS is refused unasked, whoever it would vouch for."""
    scheme, fetch = sns()
    message = sns_message(SigningCertURL=url)
    assert code_of(scheme, message, ARN) == "malformed_signature"
    assert not scheme.lacks(message, ARN)
    with pytest.raises(SignatureError, match="not the URL"):
        scheme.fetch(message, ARN)
    assert fetch.questions == []


@pytest.mark.parametrize(
    "host", ["sns.us-gov-west-1.amazonaws.com", "sns.cn-north-1.amazonaws.com.cn"]
)
def test_all_regions_are_genuine(host):
    """Regions of every partition of AWS are known."""
    scheme, _ = sns()
    url = f"https://{host}/SimpleNotificationService-7ff5318490ec183fbaddaa2a969abfda.pem"
    scheme.verify(sns_message(SigningCertURL=url), ARN, NOW)


def test_another_topic_is_refused_unasked():
    """What anybody else had SNS sign is refused before its certificate is looked at."""
    scheme, fetch = sns()
    other = (TOPIC.replace("orders", "other").encode(),)
    assert code_of(scheme, sns_message(), other) == "signature_mismatch"
    assert not scheme.lacks(sns_message(), other)
    assert fetch.questions == []


def test_a_certificate_is_fetched_once():
    """The first message makes the scheme fetch, and the next ones do not."""
    scheme, fetch = sns()
    assert scheme.lacks(sns_message(), ARN)
    scheme.fetch(sns_message(), ARN)
    assert not scheme.lacks(sns_message(), ARN)
    scheme.verify(sns_message(), ARN, NOW)
    scheme.fetch(sns_message(), ARN)
    assert len(fetch.questions) == 1


def test_a_given_key_is_never_fetched():
    """A key beside the topic counts in place of the published one."""
    scheme, fetch = sns()
    pinned = load_secrets(scheme, f"{TOPIC}\n{rsa_pem()}")
    assert not scheme.lacks(sns_message(), pinned)
    scheme.fetch(sns_message(), pinned)
    scheme.verify(sns_message(), pinned, NOW)
    assert fetch.questions == []


@pytest.mark.parametrize("answer", [OSError("no route"), b"no certificate", ValueError("odd"), b""])
def test_a_key_that_cannot_be_had_may_come_later(answer):
    """No answer and a senseless one are called unavailable, so that the sender may try again."""
    scheme, fetch = sns(answer)
    assert code_of(scheme, sns_message(), ARN) == "key_unavailable"
    assert scheme.lacks(sns_message(), ARN)
    with pytest.raises(SignatureError, match="a moment ago"):
        scheme.fetch(sns_message(), ARN)
    assert len(fetch.questions) == 1


@pytest.mark.parametrize("when", [NOW - 1e6, NOW + 1e6])
def test_a_certificate_counts_in_its_time(when):
    """Before and after its time a certificate vouches for nothing."""
    scheme, _ = sns()
    assert code_of(scheme, sns_message(), ARN, when) == "signature_mismatch"


@pytest.mark.parametrize(
    "header", ["x-amz-sns-message-id", "x-amz-sns-message-type", "x-amz-sns-topic-arn"]
)
def test_headers_must_repeat_the_body(header):
    """An unsigned header that contradicts the signed body is refused."""
    scheme, _ = sns()
    message = Parsed([(header.encode(), b"other")], sns_message().body)
    assert code_of(scheme, message, ARN) == "malformed_signature"


@pytest.mark.parametrize(
    "fields",
    [
        {"MessageId": ["m-1"]},
        {"TopicArn": None},
        {"Type": ["Notification"]},
        {"Type": "SubscriptionConfirmation"},
        {"SignatureVersion": "3"},
        {"SignatureVersion": 1},
        {"Signature": "\ud800"},
        {"Subject": "\ud800"},
    ],
)
def test_odd_messages_are_refused(fields):
    """Fields of other kinds, and lines that could pass for other fields, are refused."""
    scheme, _ = sns()
    code = code_of(scheme, sns_message(**fields), ARN)
    assert code in ("malformed_signature", "missing_signature", "signature_mismatch")


def test_a_message_cannot_be_cut_elsewhere():
    """Lines moved from the message into its id, under the same signature, make no new event."""
    case = CASES["sns-fetched"]
    body = {"Type": "Notification", "MessageId": "m-1", "Message": "hello\nMessageId\nworld"}
    right = case.message(body=json.dumps(body).encode())
    scheme, _ = sns()
    scheme.verify(Parsed([], right.body), ARN, NOW)
    moved = {"Message": "hello", "MessageId": "world\nMessageId\nm-1"}
    cut = Parsed([], json.dumps({**json.loads(right.body), **moved}).encode())
    assert code_of(scheme, cut, ARN) == "malformed_signature"


def test_raw_delivery_is_told_apart():
    """A body that is the bare message points to the setting that makes it so."""
    scheme, _ = sns()
    with pytest.raises(SignatureError, match="raw message delivery"):
        scheme.verify(Parsed([], b'{"order": 1}'), ARN, NOW)


def paypal_message(**headers):
    message = CASES["paypal-fetched"].message()
    kept = [pair for pair in message.headers if pair[0].decode() not in headers]
    return Parsed([*kept, *raw_headers(headers)], message.body)


WEBHOOK_ID = (b"4JH86294D6297924G",)


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/v1/notifications/certs/CERT-0",
        "https://api.paypal.com.evil.example/v1/notifications/certs/CERT-0",
        "https://api.paypal.com@evil.example/v1/notifications/certs/CERT-0",
        "http://api.paypal.com/v1/notifications/certs/CERT-0",
        "https://www.paypal.com/v1/notifications/certs/CERT-0",
        "https://api.paypal.com/v1/notifications/certs/../../x",
        "https://api.paypal.com/redirect?to=x",
        "https://api.paypal.com/v1/notifications/certs/CERT-0/../../x",
        "https://api.paypal.com/v1/notifications/certs/CERT-0?to=x",
    ],
)
def test_paypal_certificates_come_from_paypal(url):
    """A certificate anywhere else is refused unasked."""
    fetch = Asked(certificate("webhooks.paypal.com", *VALIDITY))
    scheme = PayPalSignature(fetch_certificate=fetch)
    message = paypal_message(**{"PAYPAL-CERT-URL": url})
    assert code_of(scheme, message, WEBHOOK_ID) == "malformed_signature"
    assert not scheme.lacks(message, WEBHOOK_ID)
    assert fetch.questions == []


def test_paypal_certificates_name_paypal():
    """A certificate for somebody else is not to be had, even from PayPal's own host."""
    scheme = PayPalSignature(fetch_certificate=Asked(certificate("evil.example", *VALIDITY)))
    assert code_of(scheme, paypal_message(), WEBHOOK_ID) == "key_unavailable"


def test_paypal_signs_with_one_algorithm():
    """Another algorithm than RSA with SHA-256 is refused."""
    scheme = PayPalSignature(fetch_certificate=Asked(b""))
    message = paypal_message(**{"PAYPAL-AUTH-ALGO": "SHA1withRSA"})
    assert code_of(scheme, message, WEBHOOK_ID) == "malformed_signature"


def plaid_message():
    return CASES["plaid-fetched"].message()


def test_plaids_key_is_asked_by_its_id_with_the_account():
    """The key id of the JWT and the account's credentials make the question; it is asked once."""
    fetch = Asked(EC.public_jwk)
    scheme = PlaidJwt(fetch_key=fetch)
    secrets = load_secrets(scheme, "client:sec-ret")
    assert scheme.lacks(plaid_message(), secrets)
    scheme.verify(plaid_message(), secrets, NOW)
    scheme.verify(plaid_message(), secrets, NOW)
    assert not scheme.lacks(plaid_message(), secrets)
    assert fetch.questions == [("k1", "client", "sec-ret")]


def test_a_revoked_account_secret_does_not_stand_in_the_way():
    """While the account's secret is rotated, the one that works is used."""
    fetch = Asked(OSError("401"), EC.public_jwk)
    scheme = PlaidJwt(fetch_key=fetch)
    scheme.verify(plaid_message(), load_secrets(scheme, ["client:old", "client:new"]), NOW)
    assert [secret for _, _, secret in fetch.questions] == ["old", "new"]


def test_an_expired_key_vouches_for_nothing():
    """A key that Plaid says has expired is refused after that time, and not before."""
    scheme = PlaidJwt(fetch_key=Asked({**EC.public_jwk, "expired_at": NOW - 1}))
    secrets = load_secrets(scheme, "client:secret")
    assert code_of(scheme, plaid_message(), secrets) == "signature_mismatch"
    scheme = PlaidJwt(fetch_key=Asked({**EC.public_jwk, "expired_at": NOW + 1}))
    scheme.verify(plaid_message(), secrets, NOW)


@pytest.mark.parametrize("answer", [OTHER_EC.public_jwk, {**EC.public_jwk, "x": "AA"}, {}])
def test_another_key_does_not_verify(answer):
    """The wrong key refuses, and what is no key is not to be had."""
    scheme = PlaidJwt(fetch_key=Asked(answer))
    code = code_of(scheme, plaid_message(), load_secrets(scheme, "client:secret"))
    wanted = "signature_mismatch" if answer == OTHER_EC.public_jwk else "key_unavailable"
    assert code == wanted


@pytest.mark.parametrize("algorithm", ["none", "HS256", "ES384", "RS256", None, ["ES256"]])
def test_the_algorithm_of_a_jwt_is_not_its_senders_choice(algorithm):
    """Any other algorithm than ES256 is refused before a key is looked for."""
    message = plaid_message()
    token = message.headers[-1][1]
    _, claims, signature = token.split(b".")
    head = encoded({"alg": algorithm, "kid": "k1"})
    fetch = Asked(EC.public_jwk)
    forged = Parsed([(b"Plaid-Verification", b".".join((head, claims, signature)))], message.body)
    assert code_of(PlaidJwt(fetch_key=fetch), forged, (b"client:secret",)) == "malformed_signature"
    assert fetch.questions == []


def encoded(part):
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")


@pytest.mark.parametrize(
    "claims",
    [
        {"iat": True, "request_body_sha256": ""},
        {"iat": 1.5, "request_body_sha256": ""},
        {"iat": 10**30, "request_body_sha256": ""},
        {"iat": "1", "request_body_sha256": ""},
        {"iat": 1, "request_body_sha256": None},
        [],
        "text",
    ],
)
def test_odd_claims_are_malformed(claims):
    """Claims of other kinds are refused before a key is looked for."""
    token = b".".join((encoded({"alg": "ES256", "kid": "k1"}), encoded(claims), b"AAAA"))
    fetch = Asked(EC.public_jwk)
    message = Parsed([(b"Plaid-Verification", token)], b"")
    assert code_of(PlaidJwt(fetch_key=fetch), message, (b"c:s",)) == "malformed_signature"
    assert fetch.questions == []


def test_the_cache_forgets_the_least_used():
    """A full cache drops the key that was unused for longest."""
    cache = KeyCache(2)
    for name in ("a", "b"):
        cache.get(name, lambda name=name: name.upper())
    assert cache.peek("a") == "A"
    cache.get("c", lambda: "C")
    assert [cache.peek(name) for name in "abc"] == ["A", None, "C"]


def test_keys_stay_a_day_and_failures_five_seconds():
    """A key is asked for again after a day, one that failed after five seconds."""
    clock = FakeClock()
    cache = KeyCache(clock=clock.monotonic)
    assert cache.get("a", lambda: 1) == cache.get("a", lambda: 2) == 1
    clock.advance(24 * 3600)
    assert cache.get("a", lambda: 3) == 3
    fetch = Asked(OSError("no"), "yes")
    for _ in range(2):
        with pytest.raises(SignatureError, match=r"cannot be had|a moment ago"):
            cache.get("b", fetch)
    clock.advance(5)
    assert cache.get("b", fetch) == "yes"
    assert len(fetch.questions) == 2


def test_a_flood_of_unknown_keys_asks_no_more_than_a_few():
    """Someone who makes up key names causes sixteen requests in five seconds, not thousands."""
    clock = FakeClock()
    cache, fetch = KeyCache(clock=clock.monotonic), Asked(OSError("no such key"))
    cache.get("known", lambda: "key")
    for number in range(1_000):
        with pytest.raises(SignatureError) as caught:
            cache.get(f"made-up-{number}", fetch)
        assert caught.value.code == "key_unavailable"
    assert len(fetch.questions) == 16
    assert cache.get("known", fetch) == "key"
    clock.advance(5)
    assert cache.get("new", lambda: "key") == "key"


def test_a_flood_does_not_keep_out_a_key_that_was_genuine():
    """A key that was had before and is too old is asked for, however many others are made up."""
    clock = FakeClock()
    cache, flood = KeyCache(clock=clock.monotonic), Asked(OSError("no such key"))
    cache.get("known", lambda: "key")
    clock.advance(24 * 3600)
    for number in range(100):
        with pytest.raises(SignatureError):
            cache.get(f"made-up-{number}", flood)
    fetch = Asked(OSError("away"), "the new key")
    for _ in range(2):  # its own failure keeps it back like any other's
        with pytest.raises(SignatureError, match=r"cannot be had|a moment ago"):
            cache.get("known", fetch)
    clock.advance(5)
    assert cache.get("known", fetch) == "the new key"
    assert len(fetch.questions) == 2


def test_threads_share_the_cache():
    """Many threads at once leave the cache whole."""
    cache = KeyCache(8)

    def use(number):
        return cache.get(f"k{number % 12}", lambda: number % 12) == number % 12

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(use, range(2_000)))


class Answers(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", f"https://localhost:{self.server.server_port}/key")
            self.end_headers()
        elif self.path == "/slow":
            self.server.stop.wait(10)
        elif self.path == "/garbled":
            self.wfile.write(b"this is no HTTP\r\n\r\n")
        elif self.path == "/cut":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno\r\n")
        else:
            size = 65_537 if self.path == "/large" else 65_536 if self.path == "/most" else 3
            self.send_response(500 if self.path == "/broken" else 200)
            self.end_headers()
            self.wfile.write(b"k" * size)

    def do_POST(self):
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.headers["Content-Type"].encode() + b" " + sent)

    def log_message(self, *_):
        pass


@contextmanager
def https_server(tmp_path, names):
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    start = dt.datetime.fromtimestamp(time.time() - 3600, dt.timezone.utc)
    built = x509.CertificateBuilder(
        issuer_name=name,
        subject_name=name,
        public_key=rsa_key().public_key(),
        serial_number=7,
        not_valid_before=start,
        not_valid_after=start + dt.timedelta(days=1),
    ).add_extension(x509.SubjectAlternativeName([x509.DNSName(one) for one in names]), False)
    pem = built.sign(rsa_key(), hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    (tmp_path / "cert.pem").write_bytes(pem)
    (tmp_path / "key.pem").write_text(rsa_pem())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        server.stop = threading.Event()
        server.daemon_threads = True
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"https://localhost:{server.server_port}"
        finally:
            server.stop.set()
            server.shutdown()
            thread.join()


@pytest.fixture
def trusted(tmp_path, monkeypatch):
    """An https server whose certificate is trusted."""
    with https_server(tmp_path, ["localhost"]) as url:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        yield url


def test_a_key_is_fetched_over_https(trusted):
    """GET and POST return the answer, up to 64 KiB."""
    assert fetch_https(f"{trusted}/key") == b"kkk"
    assert len(fetch_https(f"{trusted}/most")) == 65_536
    answer = fetch_https(f"{trusted}/x", body=b"{}", headers={"Content-Type": "application/json"})
    assert answer == b"application/json {}"


@pytest.mark.parametrize("path", ["moved", "large", "broken", "garbled", "cut"])
def test_odd_answers_are_errors(trusted, path):
    """Redirects are not followed, and an answer has its bounds and its form."""
    with pytest.raises(OSError, match=r"302|larger|500|no HTTP"):
        fetch_https(f"{trusted}/{path}")


def test_a_slow_answer_is_given_up(trusted):
    """Who does not answer in time is not waited for."""
    with pytest.raises(OSError, match="timed out"):
        fetch_https(f"{trusted}/slow", timeout=0.2)


def test_a_strangers_certificate_is_refused(tmp_path):
    """A server that nobody vouches for is no source of keys."""
    with https_server(tmp_path, ["localhost"]) as url, pytest.raises(OSError, match="CERTIFICATE"):
        fetch_https(f"{url}/key")


def test_another_hosts_certificate_is_refused(tmp_path, monkeypatch):
    """A certificate counts for the names in it."""
    with https_server(tmp_path, ["other.example"]) as url:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        with pytest.raises(OSError, match="Hostname mismatch"):
            fetch_https(f"{url}/key")


@pytest.mark.parametrize("url", ["http://localhost/", "file:///etc/passwd", "ftp://localhost/x"])
def test_nothing_but_https_is_fetched(url):
    """Other schemes are not even tried."""
    with pytest.raises(OSError, match="only https"):
        fetch_https(url)


def test_what_fetches_keys_is_not_loaded_before():
    """Few senders have keys that are fetched, and an HTTP client is slow to import."""
    code = "import sys, webhook_dedup; assert 'urllib.request' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


WITHOUT_CRYPTOGRAPHY = """
import sys
sys.modules["cryptography"] = None
import webhook_dedup
from webhook_dedup.errors import ConfigError
from webhook_dedup.providers import schemes as s
for scheme, secret in [
    (s.SendGridSignature(), "MFkw"), (s.DiscordSignature(), "00" * 32),
    (s.SnsSignature(), "arn:aws:sns:eu-west-1:123456789012:t"),
    (s.PayPalSignature(), "4JH86294D6297924G"), (s.PlaidJwt(), "client:secret"),
    (s.StandardWebhooks(), "whpk_AAAA"), (s.StandardWebhooks(), "whsk_AAAA"),
]:
    try:
        scheme.load_secret(secret)
    except ConfigError as exc:
        assert "pip install 'webhook_dedup[crypto]'" in str(exc), exc
    else:
        raise SystemExit(f"{scheme} needs nothing?")
key = s.StandardWebhooks().load_secret("whsec_c2VjcmV0")
print(sorted(s.StandardWebhooks().sign(webhook_dedup.providers.Parsed([], b""), key, 1.0)))
"""


def test_without_cryptography_the_error_comes_at_start_up():
    """The missing package is named with its pip line when a secret needs it, and not before."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_CRYPTOGRAPHY], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "webhook-signature" in done.stdout


def test_a_wrong_key_on_the_second_line_is_told():
    """What follows the name must be an RSA key."""
    scheme, _ = sns()
    with pytest.raises(ConfigError, match="PEM"):
        scheme.load_secret(f"{TOPIC}\n-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----")
