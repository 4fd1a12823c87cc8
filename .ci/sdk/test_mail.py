"""Mail: invitations, lost passwords and shares with addresses, over a real mail server; and what the outbox survives."""

import email
import email.policy
import re
import ssl
import subprocess
import time

import pytest
import requests
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

import harness
import vendor
from conftest import Caller
from test_sharing import Side, upload

ROOT = "1.2.826.0.1.3680043.10.1479.94"
PASSWORD = "a long enough password"
PATIENCE_SECONDS = 60


class Postbox:
    """A mail server that keeps what it is handed."""

    def __init__(self, **options):
        self.port, self.options, self.letters, self.logins, self.controller = harness.free_port(), options, [], [], None

    def start(self):
        self.controller = Controller(self, hostname="127.0.0.1", port=self.port, **self.options)
        self.controller.start()

    def stop(self):
        if self.controller:
            self.controller.stop()
            self.controller = None

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody"):
            return "550 5.1.1 nobody has that address"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        parsed = email.message_from_bytes(envelope.content, policy=email.policy.default)
        self.letters.append((envelope.rcpt_tos[0], parsed))
        return "250 taken"

    def authenticate(self, server, session, envelope, mechanism, data):
        self.logins.append((mechanism, data.login, data.password))
        return AuthResult(success=data.password == b"a secret")

    def to(self, address, number=1):
        """The letters to an address, once there are so many."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            found = [letter for to, letter in self.letters if to == address]
            if len(found) >= number or time.monotonic() > deadline:
                assert len(found) == number, (address, len(found), number)
                return found
            time.sleep(0.1)


def token_of(letter):
    link = re.search(r"https://\S+", letter.get_content())[0]
    return link, link.rpartition("=")[2]


def with_mail(postbox, scheme="smtp+plain", **settings):
    """A server whose mail goes there."""
    server = harness.Server()
    server.extra = {"SEPTUM__MAIL__SERVER": f"{scheme}://localhost:{postbox.port}",
                    "SEPTUM__MAIL__FROM": "Septum <septum@example.org>",
                    "SEPTUM__MAIL__PUBLIC_URL": server.origin,
                    **{f"SEPTUM__MAIL__{name.upper()}": str(value) for name, value in settings.items()}}
    return server


@pytest.fixture(scope="module")
def postbox():
    kept = Postbox()
    kept.start()
    yield kept
    kept.stop()


@pytest.fixture(scope="module")
def server(postbox):
    started = with_mail(postbox)
    try:
        started.start()
        vendor.trust(started)
        yield started
        assert started.alive(), f"the server died during the tests\n{started.log_tail()}"
        assert started.stop() == 0, f"unclean exit after SIGTERM:\n{started.log_tail()}"
        text = started.log.read_text(errors="replace")
        assert "panicked" not in text and "QUICKSILVER" not in text, started.log_tail()
    finally:
        started.close()


@pytest.fixture(scope="module")
def account(admin):
    made = admin.ok("account/add", name="Ward 7")
    role = admin.ok("role/add", account_id=made["uuid"], name="Reader", permissions='{"study_view": 1}')
    group = admin.ok("group/add", account_id=made["uuid"], name="Nights")
    return {"uuid": made["uuid"], "role": role["uuid"], "group": group["uuid"], "namespace": group["namespace_id"]}


def page(server):
    return f"{server.origin}/api/v3/user/welcome/page?invitation="


def test_somebody_new_is_invited_and_joins(server, admin, account, postbox):
    asked = {"account_id": account["uuid"], "email": "New@example.org", "link": page(server), "role_id": account["role"],
             "groups": '{"%s": "%s"}' % (account["group"], account["role"])}
    invited = admin.ok("user/invite", **asked)
    # A lost answer makes no second invitation.
    assert admin.ok("user/invite", **asked)["uuid"] == invited["uuid"] and invited["mailed"] == 1
    letter, = postbox.to("new@example.org")
    link, token = token_of(letter)
    assert token == invited["uuid"] and link.startswith(page(server)) and "Ward 7" in letter["Subject"]
    assert letter["Message-ID"] and letter["Auto-Submitted"] == "auto-generated"
    stranger = Caller(server)
    who = {"uuid": token, "first": "Nora", "last": "New"}
    assert stranger.error("user/invite/accept", uuid="0" * 32)[0] == "NOT_FOUND"
    assert stranger.error("user/invite/accept", uuid=token) == ("MISSING_FIELDS", ["first", "last", "password"])
    assert stranger.error("user/invite/accept", password="x", **who)[0] == "BAD_PASSWORD"
    # It is for whoever has the address.
    assert admin.error("user/invite/accept", uuid=token)[0] == "NOT_FOUND"
    user = stranger.ok("user/invite/accept", password=PASSWORD, **who)["user_id"]
    assert stranger.error("user/invite/accept", password=PASSWORD, **who)[0] == "ACCEPTED"
    member = admin.ok("account/user/get", uuid=account["uuid"], user_id=user)
    assert (member["role_name"], [group["name"] for group in member["groups"]]) == ("Reader", ["Nights"])
    new = admin.signed_in("new@example.org", PASSWORD)
    assert new.ok("session/user")["name"] == "Nora New"
    assert admin.error("user/invite", **asked | {"role_id": None})[0] == "ALREADY_EXISTS"
    # Tokens are nowhere on disk in the clear.
    assert server.stop() == 0
    for path in server.root.rglob("*"):
        if path.is_file() and path != server.log:
            assert token.encode() not in path.read_bytes(), path
    assert token not in server.log.read_text()
    server.start()


def test_somebody_known_accepts_signed_in(server, admin, account, postbox):
    other = admin.ok("account/add", name="Elsewhere")["uuid"]
    admin.ok("user/add", account_id=other, first="K", last="L", email="known@example.org", password=PASSWORD)
    invited = admin.ok("user/invite", account_id=account["uuid"], email="known@example.org", link=page(server))
    assert Caller(server).post("user/invite/accept", uuid=invited["uuid"]).status_code == 401
    known = admin.signed_in("known@example.org", PASSWORD)
    known.ok("user/invite/accept", uuid=invited["uuid"])
    assert account["uuid"] in {one["uuid"] for one in known.ok("account/list")["accounts"]}


def test_accounts_that_say_so_add_whom_they_know(server, admin, postbox):
    account = admin.ok("account/add", name="At once", setting_add_on_invite=1)["uuid"]
    other = admin.ok("account/add", name="Before")["uuid"]
    user = admin.ok("user/add", account_id=other, first="A", last="O", email="once@example.org", password=PASSWORD)["uuid"]
    for address in ("once@example.org", "unknown@example.org"):
        for _ in range(2):
            admin.ok("user/invite", account_id=account, email=address, link=page(server))
    admin.ok("account/user/get", uuid=account, user_id=user)
    postbox.to("unknown@example.org")
    assert "once@example.org" not in {to for to, _ in postbox.letters}


def test_what_is_no_invitation(server, admin, account):
    for parameters, expected in [
        ({"email": "x"}, ("INVALID_EMAIL", None)),
        ({"link": "https://evil.example/?i="}, ("INVALID_LINK", "link")),
        ({"link": server.origin + ".evil.example/?i="}, ("INVALID_LINK", "link")),
        ({"role_id": "0" * 32}, ("NOT_FOUND", "0" * 32)),
        ({"groups": "[]"}, ("NOT_HASH", "groups")),
        ({"groups": '{"%s": "%s"}' % ("1" * 32, account["role"])}, ("NOT_FOUND", "1" * 32)),
    ]:
        asked = {"account_id": account["uuid"], "email": "a@example.org", "link": page(server)} | parameters
        assert admin.error("user/invite", **asked) == expected, parameters


def test_the_page_behind_an_invitation(server, admin, account, postbox):
    admin.ok("user/invite", account_id=account["uuid"], email="page@example.org", link=page(server))
    link, token = token_of(postbox.to("page@example.org")[0])
    shown = requests.get(link, verify=server.verify, timeout=60)
    assert shown.status_code == 200 and "page@example.org" in shown.text and 'name="first"' in shown.text
    form = {"invitation": token, "first": "P", "last": "Q", "password": PASSWORD}
    url = link.partition("?")[0]
    assert "too weak" in requests.post(url, form | {"password": "x"}, verify=server.verify, timeout=60).text
    done = requests.post(url, form, verify=server.verify, timeout=60)
    assert done.status_code == 200 and "Welcome" in done.text
    admin.signed_in("page@example.org", PASSWORD)
    assert requests.get(link, verify=server.verify, timeout=60).status_code == 404


def test_a_lost_password_is_set_anew(server, admin, account, postbox):
    admin.ok("user/add", account_id=account["uuid"], first="L", last="M", email="lost@example.org", password=PASSWORD)
    before, nobody = admin.signed_in("lost@example.org", PASSWORD), Caller(server)
    assert nobody.ok("user/password/lost", email="lost@example.org") == nobody.ok("user/password/lost", email="no@example.org")
    link, token = token_of(postbox.to("lost@example.org")[0])
    assert "reset=" in link and requests.get(link, verify=server.verify, timeout=60).status_code == 200
    assert nobody.error("user/password/reset", token=token, password="x")[0] == "BAD_PASSWORD"
    assert nobody.error("user/password/reset", token="0" * 32, password=PASSWORD)[0] == "INVALID_TOKEN"
    nobody.ok("user/password/lost", email="LOST@example.org")
    second = token_of(postbox.to("lost@example.org", 2)[1])[1]
    nobody.ok("user/password/reset", token=token, password="another long password 1")
    # Each opens once, and a password that was set anew ends the others.
    for used in (token, second):
        assert nobody.error("user/password/reset", token=used, password=PASSWORD)[0] == "INVALID_TOKEN"
    assert before.post("session/user").status_code == 401
    admin.signed_in("lost@example.org", "another long password 1")
    assert "no@example.org" not in {to for to, _ in postbox.letters}
    # Not many letters go to one address, and whoever asks for many is locked out.
    tokens = {nobody.post("user/password/lost", email="lost@example.org").json().get("error_type") for _ in range(30)}
    assert tokens == {None, "LOCKOUT"}
    time.sleep(3)
    assert len(postbox.to("lost@example.org", 3)) == 3


def test_studies_are_shared_with_addresses(server, sdk, admin, postbox):
    side = Side(server, sdk, admin, "Posting")
    study = upload(side, f"{ROOT}.1")
    # The role says whether.
    sid = Caller(server).signed_in(side.email, PASSWORD)
    assert sid.error("study/share", uuid=study, email="x@example.org")[0] == "NOT_PERMITTED"
    assert admin.error("study/share", uuid=study, email="x")[0] == "INVALID_EMAIL"
    assert admin.error("study/share", uuid=study, email="x@example.org", group_id=side.group.uuid)[0] == "INVALID_PARAMETERS"
    admin.ok("user/add", account_id=side.account, first="C", last="D", email="colleague@example.org", password=PASSWORD)
    for _ in range(2):
        admin.ok("study/share", uuid=study, email='["Colleague@example.org", "patient@example.org"]', message="QUICKSILVER")
    colleague = admin.signed_in("colleague@example.org", PASSWORD)
    assert [one["study_uid"] for one in colleague.ok("study/list")["studies"]] == [f"{ROOT}.1"]
    access = admin.ok("study/share/list", uuid=study, name=1)
    assert [one["name"] for one in access["user_id"]] == ["C D"]
    assert [one["name"] for one in access["user_invite_share_id"]] == ["patient@example.org"]
    letter, = postbox.to("patient@example.org")
    for text in (letter.get_content(), letter["Subject"], postbox.to("colleague@example.org")[0].get_content()):
        assert "QUICKSILVER" not in text and "CRASH-1" not in text
    token = token_of(letter)[1]
    Caller(server).ok("user/invite/accept", uuid=token, first="P", last="T", password=PASSWORD)
    patient = admin.signed_in("patient@example.org", PASSWORD)
    theirs, = patient.ok("study/list")["studies"]
    assert (theirs["study_uid"], theirs["share_message"]) == (f"{ROOT}.1", "QUICKSILVER")
    access = admin.ok("study/share/list", uuid=study)
    assert access["user_invite_share_id"] == [] and len(access["user_id"]) == 2
    # What was taken back before it was accepted shows nothing.
    admin.ok("study/share", uuid=study, email="late@example.org")
    waiting, = admin.ok("study/share/list", uuid=study)["user_invite_share_id"]
    admin.ok("study/share/stop", uuid=study, user_invite_share_id=waiting)
    assert admin.error("study/share/stop", uuid=study, user_invite_share_id=waiting)[0] == "NOT_FOUND"
    token = token_of(postbox.to("late@example.org")[0])[1]
    late = {"uuid": token, "first": "L", "last": "T", "password": PASSWORD}
    assert Caller(server).error("user/invite/accept", **late)[0] == "NOT_FOUND"
    assert Caller(server).error("session/login", login="late@example.org", password=PASSWORD)[0] == "INVALID_CREDENTIALS"


def test_a_link_is_mailed(server, sdk, admin, postbox):
    side = Side(server, sdk, admin, "Linking")
    link = admin.ok("link/add", action="STUDY_VIEW", study_id=upload(side, f"{ROOT}.2"))
    assert admin.error("link/mail", uuid=link["uuid"], email="x")[0] == "INVALID_EMAIL"
    admin.ok("link/mail", uuid=link["uuid"], email="reader@example.org")
    assert token_of(postbox.to("reader@example.org")[0])[0] == link["url"]


def test_mail_survives_a_restart_and_a_mail_server_that_is_away(server, admin, account, postbox):
    postbox.stop()
    admin.ok("user/invite", account_id=account["uuid"], email="patience@example.org", link=page(server))
    deadline = time.monotonic() + PATIENCE_SECONDS
    while server.metrics().get('septum_mail_total{outcome="retried"}', 0) < 1:
        assert time.monotonic() < deadline, "it was not tried"
        time.sleep(0.1)
    assert server.metrics()["septum_mail_waiting"] == 1
    assert server.stop() == 0
    postbox.start()
    server.start()
    postbox.to("patience@example.org")
    # What nobody takes is given up at once; the others go on.
    admin.ok("user/invite", account_id=account["uuid"], email="nobody@example.org", link=page(server))
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (metrics := server.metrics()).get('septum_mail_total{outcome="dropped"}', 0) < 1 or metrics["septum_mail_waiting"]:
        assert time.monotonic() < deadline, metrics
        time.sleep(0.1)
    assert "nobody@example.org" not in server.log.read_text()


def test_mail_is_protected_by_tls_and_a_password(tmp_path):
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    # A server's certificate and no authority's, which rustls insists on.
    (tmp_path / "request").write_text("[req]\ndistinguished_name=name\nx509_extensions=of_server\nprompt=no\n"
                                      "[name]\nCN=localhost\n"
                                      "[of_server]\nsubjectAltName=DNS:localhost\nbasicConstraints=critical,CA:FALSE\n")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                    "-config", tmp_path / "request", "-keyout", key, "-out", certificate], check=True, capture_output=True)
    (tmp_path / "password").write_text("a secret\n")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    postbox = Postbox(tls_context=context, require_starttls=True, auth_required=True, authenticator=None)
    postbox.options["authenticator"] = postbox.authenticate
    postbox.start()
    server = with_mail(postbox, "smtp", ca_file=certificate, user="septum", password_file=tmp_path / "password")
    try:
        server.start()
        admin = Caller(server).signed_in(harness.USER, server.password)
        account = admin.ok("account/add", name="Safe")["uuid"]
        admin.ok("user/invite", account_id=account, email="safe@example.org", link=page(server))
        postbox.to("safe@example.org")
        assert postbox.logins[0][1:] == (b"septum", b"a secret")
        assert "a secret" not in server.log.read_text()
        # A certificate that is not trusted gets no mail.
        server.stop()
        server.extra.pop("SEPTUM__MAIL__CA_FILE")
        server.start()
        admin.ok("user/invite", account_id=account, email="unsafe@example.org", link=page(server))
        deadline = time.monotonic() + PATIENCE_SECONDS
        while server.metrics().get('septum_mail_total{outcome="retried"}', 0) < 1:
            assert time.monotonic() < deadline, "it was not tried"
            time.sleep(0.1)
        assert "unsafe@example.org" not in {to for to, _ in postbox.letters}
    finally:
        server.close()
        postbox.stop()


def test_without_mail_links_are_handed_on():
    server = harness.Server()
    try:
        server.start()
        admin = Caller(server).signed_in(harness.USER, server.password)
        account = admin.ok("account/add", name="Quiet")["uuid"]
        invited = admin.ok("user/invite", account_id=account, email="hand@example.org", link=page(server))
        assert invited["mailed"] == 0
        Caller(server).ok("user/invite/accept", uuid=invited["uuid"], first="H", last="I", password=PASSWORD)
        assert admin.error("user/password/lost", email="hand@example.org")[0] == "NOT_CONFIGURED"
    finally:
        server.close()
