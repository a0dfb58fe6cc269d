"""FixMatch on a divided set (Sohn et al., NeurIPS 2020; the division is that of DivideMix, see `co_divide.py`).

Rows whose label the other network's losses make clean are learned as they are. Of the rest only the picture counts:
q = p(weak view); where max q >= confidence, the strong view learns argmax q.

    mean CE(weak x, y) + lambda_u mean_u 1[max q >= confidence] CE(strong u, argmax q)

The second mean is over all unlabelled rows, the passing and the others. The paper draws seven of them per labelled row.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cleanlab_lite.train.loader import Batch
from cleanlab_lite.train.strategies.base import STRATEGIES, Learner, Setting, reject
from cleanlab_lite.train.strategies.co_divide import CoDivided, Divided
from cleanlab_lite.train.strategies.parts import cross_entropy


@STRATEGIES.register(
    "fixmatch",
    summary="confident guesses for rows with doubtful labels, learned from strong views",
    paper="Sohn et al., NeurIPS 2020",
)
class FixMatch(CoDivided):
    """confidence: from which a guess is learned. lambda_u: weight of the guesses. The rest as in co_divide."""

    def __init__(self, setting: Setting, *, confidence: float = 0.95, lambda_u: float = 1.0, **division: float) -> None:
        reject(
            "fixmatch",
            {
                f"confidence is {confidence}, must lie in 0..1": not 0 <= confidence <= 1,
                f"lambda_u is {lambda_u}, must not be negative": lambda_u < 0,
            },
        )
        super().__init__("fixmatch", setting, **division)
        self.views = 1
        self.confidence, self.lambda_u = confidence, lambda_u

    def learn(self, epoch: int, batch: Divided, unlabelled: Batch, learner: Learner) -> None:
        s = self.setting
        weak = s.augment(batch.inputs)
        if not len(unlabelled.inputs):
            return learner.update(cross_entropy(learner.logits(weak), batch.targets).mean())
        with torch.no_grad():
            guess, passes = confident_guess(
                learner.logits(s.augment(unlabelled.inputs)).softmax(dim=1), self.confidence
            )
        logits = learner.logits(torch.cat([weak, s.augment_strongly(unlabelled.inputs)]))
        known, guessed = logits.split([len(weak), len(unlabelled.inputs)])
        loss = cross_entropy(known, batch.targets).mean()
        learner.update(loss + self.lambda_u * (passes * cross_entropy(guessed, guess)).mean())


def confident_guess(probabilities: Tensor, confidence: float) -> tuple[Tensor, Tensor]:
    """(b,) most probable class, and whether it is probable enough."""
    top = probabilities.max(dim=1)
    return top.indices, top.values >= confidence
