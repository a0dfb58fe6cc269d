"""Plain training: one network, the loss as it is."""

from cleanlab_lite.train.strategies.base import STRATEGIES, Strategy

STRATEGIES.register("plain", summary="one network, the loss as it is", paper="")(Strategy)
