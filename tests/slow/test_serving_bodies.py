"""Bodies that nobody means well: whatever is sent, the server refuses it or answers."""

import gzip
import json
import random

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from starlette.testclient import TestClient

pytestmark = pytest.mark.slow

BODIES = 10_000
REAL_BODIES = 2_000
REAL_CASES = 300
SEED = 20261122

ROW = {"area": 81.5, "rooms": 3, "new": True, "zone": "a", "built": "2020-01-31T12:00:00Z"}
SEEDS = [
    json.dumps(body).encode()
    for body in (
        {"dataframe_split": {"columns": list(ROW), "data": [list(ROW.values())] * 3}},
        {"dataframe_records": [ROW, dict.fromkeys(ROW)]},
        {"instances": [ROW], "params": {"method": "predict_proba"}},
        {"inputs": {name: [value] for name, value in ROW.items()}},
    )
]
SEEDS.append(b"area,rooms,new,zone,built\n81.5,3,true,a,2020-01-31\n,,,,\n")
PIECES = [
    *(b"null", b"NaN", b"-Infinity", b"1e999", b"9" * 5000, b"[" * 3000, b'{"a":' * 2000, b'"\\ud800"'),
    *(b"\x00", b"\xff\xfe", b'"', b"{", b"}", b"[", b"]", b",", b":", b"true", b"-0", b"1e30", b'"params":'),
    *(b"18446744073709551616", b"\xef\xbb\xbf", b"\r\n", b"2020-13-45"),
    *(b"0001-01-01T00:00:00+14:00", b"9999-12-31T23:59:59-14:00"),
]
TYPES = [
    "application/json",
    None,
    "text/csv",
    "application/json; charset=utf-16",
    "text/plain",
    ";;=",
    "a" * 9000,
]


def test_mutated_bodies_are_no_failures(typed_app, say) -> None:
    """No body makes a server fail, and no answer is other than JSON."""
    say(f"seed {SEED}")
    statuses = answers_to_mutated(typed_app, BODIES)
    say(f"answers by status: {statuses}")
    assert min(statuses[200], statuses[400], statuses[415]) > BODIES // 100


def test_mutated_bodies_are_no_failures_of_a_real_model(real_app, say) -> None:
    """What a trained model is given is what it takes, whichever way it answers."""
    statuses = answers_to_mutated(real_app, REAL_BODIES)
    say(f"answers by status: {statuses}")
    assert statuses[200] > REAL_BODIES // 100


def test_what_is_described_is_answered_by_a_real_model(real_app) -> None:
    """Whatever rows the description allows have predictions, as it describes them."""
    operation = schemathesis.openapi.from_asgi("/openapi.json", real_app)["/invocations"]["POST"]

    @given(case=operation.as_strategy())
    @settings(max_examples=REAL_CASES, deadline=None, suppress_health_check=list(HealthCheck))
    def check(case) -> None:
        assert case.call_and_validate().status_code == 200

    check()


def answers_to_mutated(app, bodies: int) -> dict[int, int]:
    """Return how many answers there were of each status that may be."""
    chance = random.Random(SEED)  # noqa: S311 (a test's dice)
    statuses = dict.fromkeys((200, 400, 413, 415), 0)
    with TestClient(app, base_url="http://localhost") as client:
        for _ in range(bodies):
            body = mutated(chance)
            headers = {} if (kind := chance.choice(TYPES)) is None else {"content-type": kind}
            if chance.random() < 0.05:
                body, headers["content-encoding"] = gzip.compress(body)[: chance.choice([None, -4])], "gzip"
            answer = client.post("/invocations", content=body, headers=headers)
            assert answer.status_code in statuses, (answer.status_code, body[:500], headers)
            json.loads(answer.content, parse_constant=pytest.fail)
            statuses[answer.status_code] += 1
    return statuses


def mutated(chance: random.Random) -> bytes:
    """Return a body with some of its bytes taken out, put in, doubled or swapped."""
    body = bytearray(chance.choice(SEEDS))
    for _ in range(chance.choice([0, 1, 1, 2, 5])):
        start = chance.randrange(len(body) + 1)
        end = min(start + chance.choice([0, 1, 3, 20]), len(body))
        match chance.randrange(4):
            case 0:
                del body[start:end]
            case 1:
                body[start:end] = chance.choice(PIECES)
            case 2:
                body[start:start] = body[start:end] * chance.choice([1, 50])
            case 3:
                body[start:end] = chance.randbytes(end - start)
    return bytes(body)
