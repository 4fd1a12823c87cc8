"""The description of the interface is valid and true: schemathesis over all of it, and every broken file on every operation."""

import os
import pathlib
import random
import subprocess
import sys
import urllib.parse

import openapi_spec_validator
import pytest
import requests

import corpus_files
from harness import multipart, outcomes, stored_at, write_json
from synthetic import ROOT_UID, instance

pytestmark = pytest.mark.septum

MAX_SECONDS = int(os.environ.get("SEPTUM_OPENAPI_SECONDS", "60"))
PROBLEM = "application/problem+json"
# Checks of schemathesis that are not run, each with its reason.
EXCLUDED_CHECKS = {
    # Hundreds of wrong passwords from one address lock it out, as they should: 429. Credentials are looked at below.
    "ignored_auth",
    # A path or query that matches no pattern names nothing, which is 404, 406 or an empty list as well as 400.
    "negative_data_rejection",
    # What fits the patterns may still name nothing.
    "positive_data_acceptance",
    # Studies that one case deletes, another case stores again meanwhile.
    "use_after_free", "ensure_resource_availability",
}


@pytest.fixture(scope="module")
def document(server) -> dict:
    answer = requests.get(server.origin + "/api/docs/openapi.json", verify=server.verify, timeout=30)
    assert answer.status_code == 200
    return answer.json()


def operations(document: dict) -> list[tuple[str, str, dict]]:
    """(method, path, operation)"""
    return [(method.upper(), path, operation) for path, methods in document["paths"].items()
            for method, operation in methods.items()]


def parts_of_path(document: dict, operation: dict) -> dict[str, str]:
    """Name → example of the path's parameters."""
    found = {}
    for parameter in operation.get("parameters", []):
        name = parameter.get("$ref", "").rpartition("/")[2]
        parameter = document["components"]["parameters"].get(name, parameter)
        if parameter["in"] == "path":
            found[parameter["name"]] = parameter["example"]
    return found


def filled(path: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        path = path.replace("{" + name + "}", urllib.parse.quote(value, safe=",/" if name == "bulk" else ","))
    return path


def check(answer: requests.Response, operation: dict, about) -> str | None:
    """What is wrong with an answer."""
    responses = operation["responses"]
    if answer.status_code >= 500 or str(answer.status_code) not in responses:
        return f"{about}: {answer.status_code} {answer.text[:300]}"
    media_type = answer.headers.get("Content-Type", "").partition(";")[0]
    if answer.status_code >= 400 and media_type not in (PROBLEM, "application/dicom+json", "application/json"):
        return f"{about}: {answer.status_code} as {media_type}"
    return None


def test_the_document_is_valid(document):
    openapi_spec_validator.validate(document)
    assert document["openapi"].startswith("3.1") and len(document["paths"]) > 40


@pytest.mark.parametrize("path", ["/", "/api/docs", "/api/docs/conformance"])
def test_the_pages_need_nothing_from_elsewhere(server, path):
    answer = requests.get(server.origin + path, verify=server.verify, timeout=30)
    assert answer.status_code == 200 and answer.headers["Content-Type"].startswith("text/html")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "script-src" not in policy and "unsafe" not in policy
    assert "<script" not in answer.text and 'src="http' not in answer.text


def test_the_statement_is_printed(server):
    for what, start in (("conformance", "<!doctype html>"), ("openapi", "{")):
        printed = server.command("docs", what)
        assert printed.returncode == 0 and printed.stdout.startswith(start)


def test_what_is_not_public_asks_who_it_is(server, document):
    for method, path, operation in operations(document):
        url = server.origin + filled(path, parts_of_path(document, operation))
        answer = requests.request(method, url, verify=server.verify, timeout=30)
        expected = 401 if operation["security"] else 200
        assert answer.status_code == expected, (method, path, answer.status_code)
        assert bool(operation["security"]) == ("x-permission" in operation), (method, path)


@pytest.fixture(scope="module")
def known(server, corpus, tmp_path_factory) -> pathlib.Path:
    """Studies to read and to delete, a namespace, an account, bodies: for `openapi_hooks`."""
    files = [file for file in corpus_files.composite_and_other(corpus)
             if file.identified and file.sop_class not in corpus_files.NON_PATIENT and file.path.stat().st_size < 100_000]
    chosen = random.Random(1).sample(files, min(25, len(files)))
    for file in chosen:
        assert server.store([file.read()]).status_code in (200, 202), file.name
    names = ("study", "series", "instance")
    deleted = [(f"{ROOT_UID}.9.{number}", f"{ROOT_UID}.9.{number}.1", f"{ROOT_UID}.9.{number}.1.1") for number in range(40)]
    for key in deleted:
        assert server.store([instance(*key, 1, bytes(512), 16)]).status_code == 200
    # The same study UIDs with another patient: held.
    held = {study: (study, series, uid + ".9") for study, series, uid in deleted[:8]}
    for key in held.values():
        other = instance(*key, 1, bytes(512), 16).replace(b"CRASH-1 ", b"OTHER-1 ")
        assert server.store([other.replace(b"QUICKSILVER^CANARY", b"SOMEBODY^ENTIRELY ")]).status_code == 202
    namespace = server.session.get(server.origin + "/namespaces").json()["namespaces"][0]
    exceptions = server.session.get(f"{server.origin}/namespaces/{namespace['id']}/exceptions").json()["exceptions"]
    assert len(exceptions) == len(held)
    path = tmp_path_factory.mktemp("openapi") / "known.json"
    write_json(path, {
        "read": [dict(zip(names, file.key, strict=True)) for file in chosen],
        "delete": [dict(zip(names, key, strict=True)) for key in deleted],
        "held": [{"exception": one["id"]} | dict(zip(names, held[one["studyInstanceUID"]], strict=True)) for one in exceptions],
        "all": {"namespace": namespace["id"], "account": namespace["account"], "frames": "1", "bulk": "7FE00010"},
        "bodies": [str(file.path) for file in chosen]
        + [str(bad) for bad in corpus_files.bad(corpus) if bad.stat().st_size < 1 << 20],
    })
    return path


def test_schemathesis(server, document, known, tmp_path, seed):
    """Every operation with made-up requests: no 5xx, nothing that is not described."""
    report = tmp_path / "report.ndjson"
    folder = pathlib.Path(__file__).parent
    environment = os.environ | {
        "SCHEMATHESIS_HOOKS": "openapi_hooks", "PYTHONPATH": str(folder), "SEPTUM_TEST_KNOWN": str(known), "NO_COLOR": "1",
    }
    # One worker: CPython 3.11 counts the depth of syntax trees for all threads together, and hypothesis parses some.
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", server.origin + "/api/docs/openapi.json", "--url", server.origin,
        "--auth", ":".join(server.auth), "--tls-verify", str(server.verify), "--max-time", str(MAX_SECONDS),
        "--checks", "all", "--exclude-checks", ",".join(sorted(EXCLUDED_CHECKS)), "--mode", "all", "--seed", str(seed % (1 << 31)),
        "--request-timeout", "60", "--continue-on-failure", "--workers", "1", "--suppress-health-check", "all",
        "--warnings", "off", "--no-shrink", "--report", "ndjson", "--report-ndjson-path", str(report),
    ]
    done = subprocess.run(command, cwd=tmp_path, env=environment, text=True, capture_output=True, stdin=subprocess.DEVNULL,
                          timeout=MAX_SECONDS * 4 + 120)
    print(done.stdout[-12000:], done.stderr[-4000:])
    assert server.alive()
    assert done.returncode == 0, "schemathesis found something; see above"


def broken_pieces(data: bytes) -> str:
    """Bytes of a file as text that can stand in a URL."""
    return data[:96].decode("latin-1") or "\x00"


def test_every_bad_file_on_every_operation(server, document, corpus):
    """As the body of what takes one, as path, query, header and body of everything else.

    The DICOMweb services of all namespaces, of one and of a held study have the same handlers: files take turns.
    """
    found, num_sent = [], 0
    services = {"all": [], "one": [], "held": [], "else": []}
    for method, path, operation in operations(document):
        kind = "else"
        if "/dicomweb" in path:
            kind = "held" if "{exception}" in path else "one" if "{namespace}" in path else "all"
        services[kind].append((method, path, operation))
    for number, file in enumerate(corpus_files.bad(corpus)):
        data = file.read_bytes()
        text = broken_pieces(data)
        for method, path, operation in services[("all", "one", "held")[number % 3]] + services["else"] + [
                one for one in services["all"] if "requestBody" in one[2]]:
            about = (file.name, method, path)
            examples = parts_of_path(document, operation)
            requests_made = []
            if "requestBody" in operation:
                content_type, body = multipart([data])
                for kind, content in (("application/dicom", data), (content_type, body), ("application/json", data),
                                      ("text/plain", data)):
                    requests_made.append((filled(path, examples), {"data": content, "headers": {"Content-Type": kind}}))
            else:
                requests_made.append((filled(path, dict.fromkeys(examples, text)), {}))
                small = {"data": data[:65536], "headers": {"Content-Type": "application/dicom"}}
                requests_made.append((filled(path, examples), small))
                printable = urllib.parse.quote(text)
                query = {"params": {"limit": text, text: text, "accept": text, "version": text, "since": text}}
                requests_made.append((filled(path, examples), query))
                headers = {"Accept": printable, "If-None-Match": printable, "Range": printable, "Origin": printable}
                requests_made.append((filled(path, examples), {"headers": headers}))
            for url, options in requests_made:
                num_sent += 1
                try:
                    answer = server.session.request(method, server.origin + url, timeout=60, **options)
                except requests.ConnectionError as error:
                    # It may hang up on a body that nobody reads.
                    if not server.alive() or "data" not in options:
                        found.append(f"{about}: {error}")
                    continue
                # The path or query may name another address, or none: what is there is described there.
                said = dict(operation, responses=operation["responses"] | {"404": {}, "405": {}})
                found.append(check(answer, said, about))
        assert server.alive(), f"{file.name} ended the server:\n{server.log_tail()}"
    found = [one for one in found if one]
    print(f"{num_sent} requests")
    assert not found, "\n".join(found[:40])


ACCEPTS = [
    "*/*", "application/dicom", "application/dicom; transfer-syntax=*", "application/octet-stream", "image/*", "image/jphc",
    "application/octet-stream; transfer-syntax=*", 'multipart/related; type="application/dicom"',
    'multipart/related; type="application/octet-stream"', "application/dicom+json", "application/zip", "video/*",
]
PICTURES = ["*/*", "image/png", "image/gif", 'multipart/related; type="image/jpeg"']


def test_what_was_stored_of_the_bad_files_can_be_asked_for_in_every_form(server, document, corpus):
    """A broken image is the sender's, so no form of it is the server's error."""
    found, num_stored = [], 0
    reads = [(path, operation) for method, path, operation in operations(document)
             if method == "GET" and path.startswith("/dicomweb/studies/{study}")]
    # Made-up requests may have made namespaces; then it must be said into which one to store.
    namespace = server.session.get(server.origin + "/namespaces").json()["namespaces"][0]["id"]
    for file in corpus_files.bad(corpus):
        content_type, body = multipart([file.read_bytes()])
        answer = server.session.post(f"{server.origin}/namespaces/{namespace}/dicomweb/studies", data=body, timeout=60,
                                     headers={"Content-Type": content_type, "Accept": "application/dicom+json"})
        if not answer.content or "stored" not in {word for word, _ in outcomes(answer).values()}:
            continue
        for url in stored_at(answer).values():
            num_stored += 1
            pieces = url.split("/")
            values = {"study": pieces[-5], "series": pieces[-3], "instance": pieces[-1], "frames": "1", "bulk": "7FE00010"}
            for path, operation in reads:
                for accept in PICTURES if path.endswith(("/rendered", "/thumbnail")) else ACCEPTS:
                    about = (file.name, path, accept)
                    try:
                        answer = server.session.get(server.origin + filled(path, values), headers={"Accept": accept}, timeout=60)
                    except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
                        found.append(f"{about}: {error}")
                        continue
                    found.append(check(answer, operation, about))
            query = {"requestType": "WADO", "studyUID": pieces[-5], "seriesUID": pieces[-3], "objectUID": pieces[-1]}
            for kind in ("", "application/dicom", "image/jpeg", "image/png,image/gif", "application/pdf", "text/html"):
                answer = server.session.get(server.url + "/wado", params=query | {"contentType": kind}, timeout=60)
                operation = document["paths"]["/dicomweb/wado"]["get"]
                found.append(check(answer, operation, (file.name, "wado", kind)))
    assert server.alive()
    assert num_stored > 20
    found = [one for one in found if one]
    assert not found, f"{len(found)}:\n" + "\n".join(found[:60])
