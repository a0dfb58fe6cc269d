"""Proxies: small networks trained to be watched. `build_proxy(...)` returns an `nn.Module` with `encoder` and `head`."""

from cleanlab_lite.models.base import PROXIES, Proxy, build_proxy

__all__ = ["PROXIES", "Proxy", "build_proxy"]
