#!/usr/bin/env python3
"""How long lists of V3 take at 10,000 and at 100,000 studies, in one run: p50 and p99 in milliseconds, and their ratio.

    python3 .ci/list.py [--few 10000] [--many 100000] [--calls 200]

Each study has one small image of its own patient. Requests go one after the other, over TLS, on one connection.
"""

import argparse
import json
import pathlib
import statistics
import sys
import time

import requests

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "clients"))

import harness  # noqa: E402

from catalogue import Catalogue  # noqa: E402

QUERIES = {
    "newest": {},
    "patientid equals": {"filter.patientid.equals": "P0004711"},
    "name contains": {"filter.patient_name.like": "%AURE%"},
    "date range, sorted by date": {"filter.study_date.ge": "2020-03-01", "filter.study_date.le": "2020-06-30",
                                   "sort_by": "study_date-asc"},
    "sorted by name": {"sort_by": "patient_name-asc"},
    "name contains, sorted by date": {"filter.patient_name.like": "%AURE%", "sort_by": "study_date-desc"},
    "name prefix, page 10": {"filter.patient_name.like": "KELLER%", "page.number": "10"},
}


def measure(server, sid, namespace, calls):
    session, found = requests.Session(), {}
    for name, parameters in QUERIES.items():
        data = {"sid": sid, "filter.phi_namespace.equals": namespace, "page.rows": "20"} | parameters
        took = []
        for _ in range(calls):
            began = time.perf_counter()
            answer = session.post(f"{server.origin}/api/v3/study/list", data=data, verify=server.verify, timeout=60)
            took.append(1000 * (time.perf_counter() - began))
            assert answer.status_code == 200, answer.text[:300]
        rows = len(answer.json()["studies"])
        took.sort()
        found[name] = {"p50": statistics.median(took), "p99": took[int(len(took) * 0.99) - 1], "rows": rows}
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--few", type=int, default=10_000)
    parser.add_argument("--many", type=int, default=100_000)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    server = harness.Server()
    try:
        server.start()
        post = lambda path, **data: requests.post(f"{server.origin}/api/v3/{path}", data=data, verify=server.verify, timeout=60).json()
        sid = post("session/login", login=harness.USER, password=server.password)["sid"]
        account = post("account/add", sid=sid, name="Lists")["uuid"]
        namespace = post("group/add", sid=sid, account_id=account, name="Lists")["namespace_id"]
        results, stored, catalogue = {}, 0, Catalogue()
        for count in (options.few, options.many):
            began = time.monotonic()
            catalogue.fill(server, f"/namespaces/{namespace}/dicomweb", range(stored, count))
            print(f"{count - stored} studies stored in {time.monotonic() - began:.0f} s", flush=True)
            stored = count
            time.sleep(20)
            results[count] = measure(server, sid, namespace, options.calls)
        print(f"{'list':32} {'p50':>8} {'p99':>8}   {'p50':>8} {'p99':>8}   ratio of p99   (ms at {options.few} and {options.many} studies)")
        for name in QUERIES:
            few, many = (results[count][name] for count in (options.few, options.many))
            print(f"{name:32} {few['p50']:8.1f} {few['p99']:8.1f}   {many['p50']:8.1f} {many['p99']:8.1f}   {many['p99'] / few['p99']:6.2f}  rows {many['rows']}")
        if options.json:
            harness.write_json(options.json, results)
    finally:
        server.close()


if __name__ == "__main__":
    main()
