"""Logs: the format to the letter, what is masked, and one request id through all that a request leads to."""

from __future__ import annotations

import io
import json
import logging
import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core import signing

from compute.models import Action
from portal.identity.tokens import SALT
from portal.logs import MOST_CHARACTERS, Formatter, mask
from portal.requestid import (
    HEADERS,
    NOBODY,
    RequestIdMiddleware,
    current,
    current_request_id,
    identify,
    new_request_id,
    working_on,
)

REQUEST_ID = r"req-[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


def line(text: str, *args: object, **extra: object) -> str:
    """What the formatter makes of a record."""
    values = {"name": "compute.x", "levelno": logging.INFO, "levelname": "INFO", "pathname": "/a/b/x.py", "lineno": 7}
    record = logging.makeLogRecord({**values, "msg": text, "args": args, **extra})
    return Formatter().format(record)


# the format ---------------------------------------------------------------------------------------------
def test_the_format_to_the_letter():
    moment = time.mktime((2026, 11, 20, 15, 40, 18, 0, 0, -1))
    with working_on("req-1", "alice", "demo"):
        got = line("%s of %d", "boot", 3, created=moment, msecs=7.9, process=4711)
    assert got == "2026-11-20 15:40:18.007 4711 INFO compute.x [req-1 alice demo] boot of 3 x.py:7"


def test_outside_of_any_request_the_context_is_dashes():
    assert " INFO compute.x [- - -] text x.py:7" in line("text")


def test_a_traceback_follows_on_lines_of_its_own_and_is_masked_too():
    try:
        raise ValueError("no user at postgres://nacelle:hunter2@db/nacelle")
    except ValueError as error:
        got = line("it failed", exc_info=(type(error), error, error.__traceback__))
    first, *rest = got.splitlines()
    assert first.endswith("it failed x.py:7")
    assert rest[0] == "Traceback (most recent call last):"
    assert rest[-1] == "ValueError: no user at postgres://nacelle:***@db/nacelle"


@pytest.mark.parametrize("breaks", ["\n", "\r\n", "\r", "\x0b", "\x0c", "\x85", "\u2028", "\u2029", "\x1c"])
def test_what_others_chose_begins_no_line_of_its_own(breaks):
    forged = f"name{breaks}2026-11-20 15:40:18.123 1 INFO compute.x [- - -] all is well"
    with working_on("req-1", f"al{breaks}ice", "demo"):
        assert len(line("%s", forged).splitlines()) == 1


def test_nothing_speaks_to_the_terminal():
    assert "\x1b" not in line("\x1b[2J\x9b31m")
    assert "\\x1b[2J\\x9b31m" in line("\x1b[2J\x9b31m")


def test_letters_of_all_languages_stay():
    assert "größer ☃ 日本 \U0001f600" in line("größer ☃ 日本 \U0001f600")


def test_a_long_text_is_cut_and_says_so():
    got = line("%s", "x" * 100_000)
    assert len(got) < MOST_CHARACTERS + 200
    assert "… (100000 characters) x.py:7" in got


# secrets ------------------------------------------------------------------------------------------------
HIDDEN = "hunter2"


@pytest.mark.parametrize(
    "text",
    [
        "X-Auth-Token: hunter2",
        "x-subject-token=hunter2",
        "{'X-Auth-Token': 'hunter2', 'Accept': '*/*'}",
        "Authorization: Bearer hunter2",
        "Authorization: Basic hunter2, realm",
        "Cookie: sessionid=hunter2; csrftoken=hunter2",
        "Set-Cookie: sessionid=hunter2; HttpOnly",
        "{'Cookie': 'a=b; sessionid=hunter2'}",
        '{"password": "hunter2"}',
        '{"password": "a long hunter2 pass phrase"}',
        '{"password": "with \\" a quote, hunter2"}',
        "{'password': 'hunter2', 'name': 'x'}",
        "{'adminPass': \"it's hunter2\"}",
        '{"admin_pass":"hunter2"}',
        '{"original_password": "hunter2"}',
        '{"application_credential": {"id": "1", "secret": "hunter2"}}',
        '{"auth": {"identity": {"methods": ["token"], "token": {"id": "hunter2"}}}}',
        "{'token': {'id': 'hunter2'}}",
        '{"keypair": {"private_key": "-----BEGIN\\nhunter2\\n-----END"}}',
        "POST /login?name=alice&password=hunter2&next=/",
        "password=hunter2",
        "secret_key: hunter2",
        'WebSocket /ws/serial?token=hunter2" [accepted]',
        "GET /?kind=novnc&token=hunter2 HTTP/1.1",
        "/vnc.html?path=%3Ftoken%3Dhunter2",
        "qemu+tls://nacelle:hunter2@node-2/system",
        "postgres://nacelle:hunter2@localhost:5432/nacelle",
        "redis://:hunter2@localhost/0",
    ],
)
def test_secrets_are_masked(text):
    got = mask(text)
    assert HIDDEN not in got
    assert "***" in got
    assert HIDDEN not in line("%s", text)


def test_the_rest_of_the_line_stays():
    assert mask('{"password": "hunter2", "name": "alice"}') == '{"password": ***, "name": "alice"}'
    assert mask("GET /?token=hunter2&kind=serial") == "GET /?token=***&kind=serial"
    assert mask("qemu+ssh://root@node-2/system") == "qemu+ssh://root@node-2/system"
    assert mask("http://127.0.0.1:8000/compute/v2.1") == "http://127.0.0.1:8000/compute/v2.1"
    for harmless in ("create of web begins (attempt 1)", "the password was changed", "methods: ['token', 'password']"):
        assert mask(harmless) == harmless


def test_a_token_of_this_cloud_is_masked_wherever_it_stands(alice):
    plain = signing.dumps({"u": "x" * 32}, salt=SALT)
    for token in (alice.token, plain):
        assert mask(f"got {token}, why?") == "got ***, why?"
        assert mask(f"[{token}]") == "[***]"


@pytest.mark.parametrize(
    "piece",
    ["a", "a:", "http://", "password ", "password=", 'password="', "x-auth-token: ", "cookie", "cookie:", "eJ", ".eJ-",
     "?token=", '"token":{', "\\", '"', "password='\\", "a://b:", "eJaaaaaaaaaaaaaaaaaaaaaaaaa:"],
)  # fmt: skip
def test_no_text_takes_long(piece):
    """A path of 64 KiB that a stranger sends is logged by a server that serves everybody."""
    text = piece * (65_536 // len(piece))
    started = time.process_time()
    mask(text)
    assert time.process_time() - started < 1.0


# the request id -------------------------------------------------------------------------------------------
def test_ids_are_openstacks():
    assert re.fullmatch(REQUEST_ID, new_request_id())
    assert new_request_id() != new_request_id()


def test_a_block_has_its_context_and_gives_back_the_one_before():
    assert current() == NOBODY
    with working_on("req-1", "alice", "demo"):
        with working_on("req-2"):
            assert current_request_id() == "req-2"
            assert (current().user, current().project) == ("-", "-")
        with pytest.raises(ValueError), working_on("req-3"):
            raise ValueError
        assert (current_request_id(), current().user, current().project) == ("req-1", "alice", "demo")
        identify("bob", "")
        assert (current_request_id(), current().user, current().project) == ("req-1", "bob", "-")
    assert current() == NOBODY
    assert re.fullmatch(REQUEST_ID, current_request_id())


def test_threads_do_not_see_each_others_context():
    def work(number: int) -> str:
        with working_on(f"req-{number}"):
            time.sleep(0.01)
            return current_request_id()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(40))) == [f"req-{number}" for number in range(40)]


def test_each_answer_names_its_request_and_callers_cannot_choose_it(rf):
    from django.http import HttpResponse

    middleware = RequestIdMiddleware(lambda request: HttpResponse(current_request_id()))
    seen = set()
    for _ in range(3):
        answer = middleware(rf.get("/", headers=dict.fromkeys(HEADERS, "req-forged")))
        ids = {answer[name] for name in HEADERS} | {answer.content.decode()}
        assert len(ids) == 1
        seen |= ids
    assert len(seen) == 3
    assert all(re.fullmatch(REQUEST_ID, one) for one in seen)
    assert current() == NOBODY


@pytest.mark.parametrize(
    "path", ["/compute/v2.1/servers/detail", "/compute/v2.1/servers/nothing", "/nothing", "/identity/v3"]
)
def test_answers_of_all_kinds_have_the_headers(alice, path):
    answer = alice.get(path)
    assert {answer[name] for name in HEADERS} == {answer[HEADERS[0]]}
    assert re.fullmatch(REQUEST_ID, answer[HEADERS[0]])


@pytest.fixture
def logged():
    """All lines that are logged meanwhile, in our format."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Formatter())
    logging.getLogger().addHandler(handler)
    yield lambda: stream.getvalue().splitlines()
    logging.getLogger().removeHandler(handler)


def test_one_id_goes_from_the_answer_to_the_action_log_and_the_worker(alice, cloud, drain, logged):
    body = {"server": {"name": "web", "flavorRef": cloud.nano.id, "imageRef": str(cloud.image.id), "networks": "auto"}}
    answer = alice.post("/compute/v2.1/servers", body, headers={"OpenStack-API-Version": "compute 2.37"})
    assert answer.status_code == 202, answer.content
    request_id = answer[HEADERS[0]]
    action = Action.objects.get(instance_id=json.loads(answer.content)["server"]["id"])
    assert action.request_id == request_id
    drain()
    worked = [text for text in logged() if " compute.operations.worker " in text]
    assert worked
    for text in worked:
        assert re.fullmatch(
            rf"\S+ \S+ \d+ INFO compute.operations.worker \[{request_id} alice demo\] .* worker.py:\d+", text
        )
    log = alice.get(f"/compute/v2.1/servers/{action.instance_id}/os-instance-actions")
    assert [one["request_id"] for one in log.json()["instanceActions"]] == [request_id]


def test_a_request_with_a_password_leaves_none_in_the_log(anyone, cloud, logged):
    logging.getLogger("test").warning("body %s", {"password": HIDDEN})
    user = {"name": "nobody", "domain": {"id": "default"}, "password": HIDDEN}
    anyone.post(
        "/identity/v3/auth/tokens", {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}}}
    )
    assert any("body" in text for text in logged())
    assert not any(HIDDEN in text for text in logged())
