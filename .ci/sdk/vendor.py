"""The vendor's client, unmodified, signed in."""

import os
import ssl

import aiohttp
from ambra_sdk.api import Api

import harness


def trust(server):
    """Makes the client trust a server's certificate."""
    # The client takes no path of a certificate, but the library below it reads this; the async one the other.
    os.environ["REQUESTS_CA_BUNDLE"] = os.environ["SSL_CERT_FILE"] = server.verify
    # Which the library of its channels read when it was imported, long ago.
    aiohttp.connector._SSL_CONTEXT_VERIFIED = ssl.create_default_context(cafile=server.verify)


def api(server, login=harness.USER, password=None):
    return Api.with_creds(f"{server.origin}/api/v3", login, password or server.password, client_name="septum-test",
                          rate_limits=None)
