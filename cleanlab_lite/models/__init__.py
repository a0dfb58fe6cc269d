"""Proxies: small networks trained to be watched. `build_proxy(...)` returns one with an `encoder` and a `head`."""

from cleanlab_lite.models.base import PROXIES, Proxy, build_proxy

__all__ = ["PROXIES", "Proxy", "build_proxy"]
