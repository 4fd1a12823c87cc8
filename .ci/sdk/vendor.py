"""The vendor's client, unmodified, signed in."""

from ambra_sdk.api import Api

import harness


def api(server, login=harness.USER, password=None):
    return Api.with_creds(f"{server.origin}/api/v3", login, password or server.password, client_name="septum-test",
                          rate_limits=None)
