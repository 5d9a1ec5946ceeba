"""What an experiment tests, on what it trains for that, and what cannot be done and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from headclip_med.datasets import KNOWN_SETS, PROTOCOLS, Dataset, find_set, find_sets
from headclip_med.datasets.discover import INDUSTRIAL, MEDICAL, discover
from headclip_med.datasets.own.spec import SetSpec
from headclip_med.errors import HeadClipError, InvalidSettings, nearest
from headclip_med.evaluation.datasets import open_datasets
from headclip_med.models.registry import METHODS
from headclip_med.pipelines.experiments.definitions import ExperimentDefinition, Variant

GIVEN = "given"
"""What the auxiliary data are called that a user named."""

_DEFAULT_PROTOCOL = "mvtec-to-all"
"""For sets that the paper has not."""


@dataclass(frozen=True)
class Request:
    """What a user asks an experiment for.

    Attributes:
        data_root: Where sets are looked for.
        datasets: Names of sets below it, or ``LAYOUT:FOLDER``; all that are found by default.
        train: Sets to train on, as ``LAYOUT:FOLDER``; those of the published protocols by default.
        methods: Of those that the experiment compares; all by default.
        limit: At most this many images of each category are tested.
    """

    data_root: Path | None = None
    datasets: tuple[str, ...] = ()
    train: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    limit: int | None = None


@dataclass(frozen=True, eq=False)
class EvaluationSet:
    """A set that is tested, or is not.

    Attributes:
        name: As tables call it.
        domain: ``industrial`` or ``medical``.
        dataset: The set; None where it cannot be tested.
        reason: Why not.
        auxiliary: Key of the data that methods are trained on to be tested here.
        untrained: Why methods that are trained cannot be tested here; the others can.
        failed: Whether the set is there, but cannot be used.
        spec: Where it is, as ``LAYOUT:FOLDER``; empty where it is absent.
    """

    name: str
    domain: str
    dataset: Dataset | None = None
    reason: str = ""
    auxiliary: str = ""
    untrained: str = ""
    failed: bool = False
    spec: str = ""

    def refusal(self, method: str) -> str:
        """Say why a method is not tested here, or nothing."""
        return self.reason or (self.untrained if METHODS[method].needs_training else "")


@dataclass(frozen=True, eq=False)
class ExperimentPlan:
    """All that an experiment is going to do.

    Attributes:
        experiment: Its definition.
        variants: Its rows, as far as they were asked for.
        tested: All sets, in the order of tables, those without result among them.
        auxiliaries: Sets to train on, by key; only those that are needed.
        limit: At most this many images of each category are tested.
    """

    experiment: ExperimentDefinition
    variants: tuple[Variant, ...]
    tested: tuple[EvaluationSet, ...]
    auxiliaries: Mapping[str, tuple[Dataset, ...]]
    limit: int | None

    @property
    def trainings(self) -> tuple[tuple[Variant, str], ...]:
        """Name every training: the variant, and the key of what it is trained on."""
        return tuple(
            (variant, key)
            for key in self.auxiliaries
            for variant in self.variants
            if METHODS[variant.method].needs_training
        )


def plan_experiment(experiment: ExperimentDefinition, request: Request) -> ExperimentPlan:
    """Find the sets, and decide what is trained on for which.

    VisA is trained on to test MVTec AD, and MVTec AD to test all others, as in the paper, unless
    the request names other sets. Nothing is ever tested on a set that was trained on for it.

    Args:
        experiment: What to do.
        request: With what.

    Raises:
        InvalidSettings: A name is unknown, no place for data is given, or nothing can be tested.
        UnreadableInput: A set to train on cannot be used.
    """
    if request.limit is not None and request.limit < 1:
        raise InvalidSettings("limit must be at least 1.", "Leave it out to take every image.")
    variants = _chosen(experiment, request.methods)
    places = find_sets(request.data_root) if request.data_root else {}
    wanted = list(_wanted(request, places))
    names = [name for name, _, _ in wanted]
    for name in names:
        if names.count(name) > 1:
            raise InvalidSettings(
                f"Two sets are called {name}.",
                "Name one of them, or give their folders other names.",
                code="two-sets-of-one-name",
            )
    needs_training = any(METHODS[variant.method].needs_training for variant in variants)
    auxiliaries = _auxiliaries(request, places) if needs_training else {}
    tested = tuple(_tested(one, auxiliaries, given=bool(request.train)) for one in wanted)
    return _whole(ExperimentPlan(experiment, variants, tested, auxiliaries, request.limit))


def replan(
    plan: ExperimentPlan,
    experiment: ExperimentDefinition,
    *,
    methods: tuple[str, ...] = (),
    sets: tuple[str, ...] | None = None,
) -> ExperimentPlan:
    """Plan another experiment on sets that are open already: none is opened or read again.

    Args:
        plan: Of an experiment that has all methods of the other one.
        experiment: The other one.
        methods: Of those that it compares; all by default.
        sets: Names of sets, of those in ``plan``; all by default.

    Raises:
        InvalidSettings: A method is none of its own, or nothing can be tested.
    """
    tested = tuple(one for one in plan.tested if sets is None or one.name in sets)
    variants = _chosen(experiment, methods)
    return _whole(replace(plan, experiment=experiment, variants=variants, tested=tested))


def _whole(plan: ExperimentPlan) -> ExperimentPlan:
    """Leave out what is trained on for nothing, and refuse a plan that tests nothing."""
    used = {one.auxiliary for one in plan.tested if one.dataset and not one.untrained}
    needed = {key: sets for key, sets in plan.auxiliaries.items() if key in used}
    _require_something(plan)
    return replace(plan, auxiliaries=needed)


def same_data(trained_on: Dataset, tested: Dataset) -> str:
    """Say why a set may not be tested after training on another, or nothing.

    Args:
        trained_on: The auxiliary set.
        tested: The set to be tested; its ``test`` split counts.

    Returns:
        A sentence, empty where the two have nothing in common: neither name, nor files, nor, for
        two sets of equal size, content.
    """
    if trained_on.name == tested.name:
        return f"trained on {trained_on.name}"
    files = {sample.image_path.resolve() for sample in trained_on.samples}
    if any(sample.image_path.resolve() in files for sample in tested.samples):
        return f"trained on {trained_on.name}, which shares images with it"
    by_layout = {trained_on.name, tested.name} == {"mvtec", "MVTecAD"}
    if by_layout and set(trained_on.categories) & set(tested.categories):
        return f"trained on {trained_on.name}, whose categories it has"
    alike = len(trained_on.samples) == len(tested.samples)
    if alike and trained_on.content_digest == tested.content_digest:
        return f"trained on {trained_on.name}, which is a copy of it"
    return ""


def _chosen(experiment: ExperimentDefinition, methods: tuple[str, ...]) -> tuple[Variant, ...]:
    for method in methods:
        if method not in experiment.methods:
            known = ", ".join(experiment.methods)
            raise InvalidSettings(
                f"The experiment {experiment.name} has no method '{method}'.",
                f"{nearest(method, experiment.methods)}It compares {known}.",
                code="unknown-method",
            )
    return tuple(one for one in experiment.variants if not methods or one.method in methods)


_Wanted = tuple[str, str, str]
"""Name, domain and ``LAYOUT:FOLDER``, which is empty for a set that is not there."""


def _wanted(request: Request, places: Mapping[str, Path]) -> Iterator[_Wanted]:
    """Name the sets to be tested, the paper's first."""
    if not request.datasets:
        if request.data_root is None:
            raise InvalidSettings(
                "No data were named.",
                "Say where the data are: --data-root, or sets as LAYOUT:FOLDER with --datasets.",
                code="no-data",
            )
        for name in (*INDUSTRIAL, *MEDICAL):
            yield _entry(name, places)
        named = (name for name in places if name not in (*INDUSTRIAL, *MEDICAL))
        yield from (_entry(name, places) for name in named)
        if places or any(request.data_root.iterdir()):
            known = {f"{name}:{folder}" for name, folder in places.items()}
            yield from (_given(spec) for spec in _unnamed(request.data_root) if spec not in known)
        return
    order = [*INDUSTRIAL, *MEDICAL]
    asked = [
        _given(one) if ":" in one else _entry(find_set(one).name, places)
        for one in request.datasets
    ]
    yield from sorted(asked, key=lambda one: order.index(one[0]) if one[0] in order else len(order))


def _unnamed(root: Path) -> list[str]:
    """List sets that only their content tells: folders of categories in MVTec AD's layout."""
    try:
        return [spec for spec in discover(root) if spec.startswith("mvtec:")]
    except HeadClipError:
        return []


def _entry(name: str, places: Mapping[str, Path]) -> _Wanted:
    if name not in KNOWN_SETS:
        raise InvalidSettings(
            f"'{name}' is a layout, not a set.",
            f"Give its folder as well, as {name}:FOLDER.",
            code="unknown-dataset",
        )
    spec = f"{name}:{places[name]}" if name in places else ""
    return name, KNOWN_SETS[name].domain, spec


def _given(spec: str) -> _Wanted:
    named = SetSpec.parse(spec)
    known, folder = find_set(named.layout), named.path.resolve().name
    has_own_name = not known.is_generic or known.name == "mvtec"
    return (known.name if has_own_name else folder), known.domain, spec


def _auxiliaries(request: Request, places: Mapping[str, Path]) -> dict[str, tuple[Dataset, ...]]:
    """Open what can be trained on; a protocol whose sets are absent is left out."""
    if request.train:
        return {GIVEN: tuple(open_datasets([spec]) for spec in request.train)}
    found = {}
    for key, protocol in PROTOCOLS.items():
        if all(name in places for name in protocol.train):
            specs = [f"{name}:{places[name]}" for name in protocol.train]
            found[key] = tuple(open_datasets([spec]) for spec in specs)
    return found


def _tested(
    wanted: _Wanted, auxiliaries: Mapping[str, tuple[Dataset, ...]], *, given: bool
) -> EvaluationSet:
    name, domain, spec = wanted
    if not spec:
        return EvaluationSet(name, domain, reason="absent")
    try:
        dataset = open_datasets([spec]).split("test")
    except HeadClipError as error:
        return EvaluationSet(name, domain, reason=f"unusable: {error}", failed=True, spec=spec)
    found = EvaluationSet(name, domain, replace(dataset, name=name), spec=spec)
    published = next((p.name for p in PROTOCOLS.values() if name in p.test), _DEFAULT_PROTOCOL)
    key = GIVEN if given else "visa-to-mvtec" if name == "mvtec" else published
    if key not in auxiliaries:
        needed = ", ".join(PROTOCOLS[key].train) if key in PROTOCOLS else "what it is trained on"
        return replace(found, untrained=f"not trained: {needed} is absent")
    reasons = (same_data(one, dataset) for one in auxiliaries[key])
    return replace(found, auxiliary=key, untrained=next(filter(None, reasons), ""))


def _require_something(plan: ExperimentPlan) -> None:
    reasons = {}
    for one in plan.tested:
        refusals = [one.refusal(variant.method) for variant in plan.variants]
        if not all(refusals):
            return
        reasons[one.name] = refusals[0]
    told = "; ".join(f"{name}: {reason}" for name, reason in list(reasons.items())[:20])
    raise InvalidSettings(
        f"Nothing can be tested ({told or 'no set was named'}).",
        "Name sets with --datasets, the folder that holds them with --data-root, and what to "
        "train on with --train LAYOUT:FOLDER.",
        code="nothing-to-test",
    )
