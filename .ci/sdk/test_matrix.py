"""The permission matrix of API V3: every entrypoint that needs a permission × every flag × places; and whole traffic replayed.

Rows and expectations are in `matrix`, from the reference and not from the server's own table. Each thread has a tenant of
its own (`tenant`), so that none disturbs another.
"""

import collections
import concurrent.futures
import itertools
import re
import secrets
import string
import time

import pytest

import matrix
from conftest import Caller
from matrix import CALLS, MAKE, NO_FLAG, STUDIES, UNITS, Call, call, calls
from tenant import Tenant, bundle

NUM_TENANTS = 8
# Cells that are known to be wrong, by place and reason. One that has become right fails the test.
KNOWN = {}
# Requests that are known to tell whether somebody else's id is there.
KNOWN_TO_TELL = {}
IS_KNOWN = {(where, path) for (where, _), paths in KNOWN.items() for path in paths}


@pytest.fixture(scope="module")
def document():
    if not (matrix.REFERENCE / "api_v3.md").is_file():
        pytest.skip(f"no reference at {matrix.REFERENCE} (set SEPTUM_REFERENCE)")
    return matrix.Document()


def in_threads(work, items):
    with concurrent.futures.ThreadPoolExecutor(NUM_TENANTS) as pool:
        return list(pool.map(work, items))


@pytest.fixture(scope="module")
def tenants(server, admin):
    return in_threads(lambda number: Tenant(server, admin, number), range(NUM_TENANTS))


class Cells:
    """The cells of one tenant: how many in each place, and which are wrong."""

    def __init__(self, document, tenant, neighbour):
        self.document, self.tenant, self.neighbour = document, tenant, neighbour
        self.member, self.guest = tenant.callers["member"], tenant.callers["guest"]
        self.num, self.wrong, self.known = collections.Counter(), [], set()

    def note(self, where, flags, path, expected, got):
        self.num[where] += 1
        expected = {expected} if isinstance(expected, str) else expected
        if got not in expected and (where, path) in IS_KNOWN:
            self.known.add((where, path))
        elif got not in expected:
            self.wrong.append(f"{path} {where} with {flags}: {got}, not {' or '.join(sorted(expected))}")

    def at(self, flag, where, caller, rows, place, permitted, refused):
        """One place for one flag, where a call that the flag permits answers one thing, and any other another."""
        without = [row for row in rows if flag not in self.document.needed(row.path)]
        for row, got in zip(without, bundle(caller, without, place), strict=True):
            self.note(where, flag, row.path, refused(row), got)
        for row in rows:
            if flag in self.document.needed(row.path):
                used = place
                if permitted(row) == "OK" and row.path in MAKE and (where, row.path) != ("shared", "study/delete"):
                    used = place | self.made(flag, caller, row, place)
                self.note(where, flag, row.path, permitted(row), bundle(caller, [row], used)[0])
                if used is place:
                    self.tenant.mend(row.path)

    def made(self, flag, caller, row, place):
        name, making = MAKE[row.path]
        self.tenant.permit(self.document.flags)
        uuid = caller.ok(making.path, **making.filled(place | {"fresh": secrets.randbelow(10**12)}))["uuid"]
        self.tenant.permit({flag})
        return {name: uuid}

    def of_flag(self, flag):
        """One flag alone, everywhere."""
        own, shared, revoked = self.tenant.own, self.tenant.shared, self.tenant.revoked
        self.tenant.permit({flag})
        answers = (lambda row: row.answer), (lambda row: "NOT_FOUND" if row.path in matrix.HIDDEN else "NOT_PERMITTED")
        self.at(flag, "own", self.member, CALLS, own, *answers)
        self.at(flag, "own group alone", self.guest, STUDIES + UNITS, own, *answers)
        # What waits is no share yet.
        self.at(flag, "shared", self.guest, [row for row in STUDIES if row.path != "study/reject"], shared, *answers)
        absent = [lambda row: ABSENT] * 2
        self.at(flag, "other group", self.guest, STUDIES + UNITS, self.tenant.other, *absent)
        self.at(flag, "other account", self.member, CALLS, self.neighbour.own, *absent)
        # Without the flag it may be said first that it is missing: that is said of studies that never were, too.
        absent = (lambda row: "NOT_FOUND"), (lambda row: {"NOT_FOUND", "NOT_PERMITTED"})
        self.at(flag, "revoked", self.guest, [row for row in STUDIES if row.path not in EARLY], revoked, *absent)

    def of_many_flags(self):
        """Denied beside everything else, nobody's session, disabled, others' things, and what is shared no more."""
        own, flags = self.tenant.own, set(self.document.flags)
        for row in CALLS:
            together = self.document.all_of(row.path)
            for needed in [{flag} for flag in sorted(together)] or [self.document.needed(row.path)]:
                self.tenant.permit(flags - needed, needed)
                expected = "NOT_FOUND" if row.path in matrix.HIDDEN else "NOT_PERMITTED"
                self.note("denied", "everything else", row.path, expected, bundle(self.member, [row], own)[0])
            if together:
                self.tenant.permit(together)
                self.note("own", "all it needs", row.path, row.answer, bundle(self.member, [row], own)[0])
        for line, given, is_enough in matrix.OWNERSHIP:
            self.tenant.permit(given.split())
            expected, row = "OK" if is_enough else "NOT_PERMITTED", call(line)
            self.note("of others", given, row.path, expected, bundle(self.member, [row], own)[0])
        self.tenant.permit(flags)
        rows = CALLS + calls(matrix.WITHOUT_FLAG)
        for where, caller in (("nobody", Caller(self.tenant.server)), ("disabled", self.tenant.callers["gone"])):
            for row, got in zip(rows, bundle(caller, rows, own), strict=True):
                self.note(where, "everything", row.path, "401", got)
        self.tenant.permit({flag for flag in flags if not flag.endswith("_only_own")})
        rows = [row for row in STUDIES if row.path not in EARLY] + calls(matrix.REVOKED)
        for row, got in zip(rows, bundle(self.guest, rows, self.tenant.revoked), strict=True):
            self.note("revoked", "everything", row.path, "NOT_FOUND", got)


# How a call says that something is not there, or not the caller's to know of: always in the same words, see below.
ABSENT = {"NOT_FOUND", "ACCOUNT_NOT_FOUND", "NAMESPACE_NOT_FOUND"}
# What makes a study anew, and what says that a parameter is wrong before it looks for the study.
EARLY = {"study/add", "study/share", "study/share/stop", "study/share/who", "study/reject"}


def test_every_entrypoint_that_answers_has_a_row(server, document):
    known = {row.path for row in CALLS}
    assert not known & NO_FLAG and set(matrix.RULES) | set(MAKE) <= known
    paths = sorted({*document.columns, "account/add", "account/delete"} - {""})
    tokens = bundle(Caller(server), [Call(path) for path in paths], {})
    assert {path for path, token in zip(paths, tokens, strict=True) if token != "NOT_SUPPORTED"} == known | NO_FLAG


def test_the_matrix(document, tenants):
    began = time.monotonic()

    def work(tenant):
        cells = Cells(document, tenant, tenants[(tenant.number + 1) % NUM_TENANTS])
        for flag in document.flags[tenant.number :: NUM_TENANTS]:
            cells.of_flag(flag)
        cells.of_many_flags()
        return cells

    all_cells = in_threads(work, tenants)
    num = sum((cells.num for cells in all_cells), collections.Counter())
    print(f"{num.total()} cells in {time.monotonic() - began:.0f} s: {dict(num)}")
    wrong = sorted(itertools.chain.from_iterable(cells.wrong for cells in all_cells))
    assert not wrong, f"{len(wrong)} wrong\n" + "\n".join(wrong)
    right = IS_KNOWN - set().union(*(cells.known for cells in all_cells))
    assert not right, f"right by now, and no longer to be listed: {sorted(right)}"
    assert num.total() > 50_000


def twin(place):
    """The same names with ids that never were."""
    ids = collections.defaultdict(lambda: secrets.token_hex(16))
    made = {name: re.sub("[0-9a-f]{32}", lambda found: ids[found[0]], value) for name, value in place.items()}
    return made | {"uid": f"{matrix.ROOT}.9.{secrets.randbelow(10**12)}"}


def told(caller, request, place, own):
    """What a request tells: status, headers and body, with the place's ids replaced by their names."""
    _, method, row = request
    names = place | {f"my_{name}": value for name, value in own.items()}
    given, url = row.filled(names), caller.base.removesuffix("/api/v3") + string.Template(row.path).substitute(names)
    form, body = (given, None) if method == "FORM" else (None, given.pop("body", None))
    answer = caller.session.request(method.replace("FORM", "POST"), url, data=form or body, params=None if form else given,
                                    headers={"Cookie": f"sid={caller.sid}"}, verify=caller.verify, timeout=60)
    headers = {name.lower(): value for name, value in answer.headers.items()}
    for name in ("connection", "content-length", "date", "x-request-id"):
        headers.pop(name, None)
    text = re.sub(r'"created":"[^"]*"', '"created":""', answer.text)
    for name, value in sorted(place.items(), key=lambda pair: -len(pair[1])):
        text = text.replace(value, f"${name}")
    return answer.status_code, headers, text


def requests_of(lines):
    """(line, method, call) of each line; of calls of services, FORM."""
    for line in filter(None, map(str.strip, lines.splitlines())):
        method, _, rest = line.partition(" ")
        yield (line, method, call(rest)) if method.isupper() else (line, "FORM", call(f"/api/v3/{line}"))


def test_the_traffic_of_another_tenant_gains_and_tells_nothing(document, tenants):
    theirs, mine = tenants[0], tenants[1]
    for tenant in (theirs, mine):
        tenant.permit([*document.flags, "change_view", "exception_view", "exception_resolve", "study_view_original"])
    # Whoever they belong to gets an answer, or there would be nothing to compare.
    owners = [(one[0], told(theirs.callers["member"], one, theirs.own, mine.own)) for one in requests_of(matrix.READS)]
    assert not [(line, status, text[:300]) for line, (status, _, text) in owners if status != 200]
    everything = matrix.READS + matrix.CALL_LINES + matrix.WITHOUT_FLAG + matrix.CHANGES
    places, known, differing = (theirs.own, theirs.other, theirs.shared), set(), []
    asked = [(place, one) for place in places for one in requests_of(everything)]
    asked += [(place, one) for place in places[:2] for one in requests_of(matrix.BY_UID)]
    asked += [(place, one) for place in places for one in requests_of(matrix.MIXED)]
    for place, one in asked:
        got, expected = (told(mine.callers["member"], one, about, mine.own) for about in (place, twin(place)))
        if got != expected and one[0] in KNOWN_TO_TELL:
            known.add(one[0])
        elif got != expected:
            differing.append(f"{one[0]}\n  theirs: {got}\n  absent: {expected}")
    print(f"{len(asked)} requests replayed")
    assert not differing, f"{len(differing)} differ\n" + "\n".join(differing)
    assert known == set(KNOWN_TO_TELL), f"tells nothing by now, and no longer to be listed: {set(KNOWN_TO_TELL) - known}"
