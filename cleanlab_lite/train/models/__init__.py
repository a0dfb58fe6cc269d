"""Proxies: small networks trained to be watched. `build_proxy(...)` returns one with an `encoder` and a `head`.

`PROXIES.get(name).function(examples)` builds (encoder, num_features) for inputs like `examples` (b, ...); those that
start from pretrained weights are given `weights`, too.
"""

from __future__ import annotations

import importlib

from cleanlab_lite.train.models.base import PROXIES, Pixels, Proxy, ProxyFacts, build_proxy, require_fit, usual_proxy

for _module in ("backbones", "baseline", "image", "tuned", "vector"):
    importlib.import_module(f"cleanlab_lite.train.models.{_module}")

__all__ = ["PROXIES", "Pixels", "Proxy", "ProxyFacts", "build_proxy", "require_fit", "usual_proxy"]
