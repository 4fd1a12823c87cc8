"""What schemathesis cannot know: studies that are there, bodies that are DICOM. Loaded by SCHEMATHESIS_HOOKS.

Choices depend on what was generated and on nothing else, so that a case can be repeated.
"""

import json
import os
import pathlib
import re
import zlib

import schemathesis
from hypothesis import strategies as st

from harness import multipart

KNOWN = json.loads(pathlib.Path(os.environ["SEPTUM_TEST_KNOWN"]).read_text())
BODIES = [pathlib.Path(path).read_bytes() for path in KNOWN["bodies"]]
BOUNDARY = "septum-test-boundary"
# Media types that ask for one form or another; schemathesis makes up its own as well.
ACCEPTS = [
    "*/*", "application/dicom+json", "application/json", "application/dicom; transfer-syntax=*", "application/octet-stream",
    'multipart/related; type="application/dicom"', 'multipart/related; type="application/octet-stream"; transfer-syntax=*',
    "image/*", "image/jphc", "image/jpeg", "image/png", "image/gif", "application/zip", "application/pdf", "text/html;q=0.1, */*;q=0.01", "a/b;q=2", "multipart/related; type=",
]


def framed(content: bytes) -> bytes:
    """A body of multipart/related with one part; the boundary is in the Content-Type that `before_call` sets."""
    _, body = multipart([content])
    return re.sub(rb"[0-9a-f]{32}", BOUNDARY.encode(), body)


bodies = st.one_of(st.sampled_from(BODIES), st.binary(max_size=2048))
schemathesis.openapi.media_type("application/dicom", bodies)
schemathesis.openapi.media_type("multipart/related", st.one_of(bodies.map(framed), bodies))


@schemathesis.serializer("application/dicom", "multipart/related")
def as_it_is(_context, value):
    return value if isinstance(value, bytes) else json.dumps(value, default=str).encode()


def number_of(case) -> int:
    return zlib.crc32(repr((case.path_parameters, case.query)).encode())


@schemathesis.hook
def before_call(_context, case, _kwargs):
    number = number_of(case)
    if case.media_type == "multipart/related":
        case.headers["Content-Type"] = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
    number, wants = divmod(number, 3)
    if wants:
        number, which = divmod(number, len(ACCEPTS))
        case.headers.setdefault("Accept", ACCEPTS[which])
    number, is_made_up = divmod(number, 4)
    if case.path.endswith("/wado") and is_made_up and isinstance(case.query, dict):
        found = KNOWN["read"][number % len(KNOWN["read"])]
        case.query |= {"requestType": "WADO", "studyUID": found["study"], "seriesUID": found["series"],
                       "objectUID": found["instance"]}
    # Three of four cases are about something that is there.
    if not case.path_parameters or is_made_up == 0:
        return
    is_delete = case.operation.method.upper() == "DELETE"
    if "exception" in case.path_parameters:
        known = KNOWN["held"][1:] if is_delete else KNOWN["held"][:1]
    else:
        known = KNOWN["delete"] if is_delete else KNOWN["read"]
    number, has_version = divmod(number, 4)
    if has_version and isinstance(case.query, dict):
        # A made-up version is nowhere.
        case.query.pop("version", None)
    found = known[number % len(known)] | KNOWN["all"]
    for name in case.path_parameters:
        if name in found:
            case.path_parameters[name] = found[name]
