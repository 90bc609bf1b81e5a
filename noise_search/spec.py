"""What a sweep is asked to do, as plain frozen data. `config` makes it from Hydra's output and checks it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Interval, Len

from noise_search.executor_specs import ExecutorSpec, InlineSpec

LARGEST = 2**63 - 1  # what databases and generators take
Positive = Annotated[int, Interval(ge=1, le=LARGEST)]
Seed = Annotated[int, Interval(ge=0, le=LARGEST)]
Fraction = Annotated[float, Interval(ge=0, le=1)]
Mode = Literal["auto", "fused", "looped"]


@dataclass(frozen=True, slots=True)
class DataSpec:
    """Which data, the seed of its split, and how much of it.

    Args:
        name: A shipped data set, or what data of one's own are called; empty takes the name they give themselves.
        split_seed: Of every random choice between samples.
        root: Folder with the data set's files, for those that have files.
        limit: So many samples for train and validation together; None takes all.
        target: Dotted path of the caller's own function, which returns a `data.Dataset`; None for shipped data.
        parameters: What that function is called with, plain data.
    """

    name: str
    split_seed: Seed = 0
    root: str | None = None
    limit: Positive | None = None
    target: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Which model: a shipped one, or one's own by the name of what makes it.

    Args:
        name: In the registry; of one's own, the last part of `target`.
        parameters: Of the class that its registry entry names; keyword arguments of one's own.
        target: Dotted path of one's own model, imported where a job runs; None for a shipped one.
        normalise: Whether inputs are normalised before the model sees them.
    """

    name: str
    parameters: Any
    target: str | None = None
    normalise: bool = True


@dataclass(frozen=True, slots=True)
class OptimizerSpec:
    """Optimiser and learning rate over training.

    Args:
        name: An elementwise optimiser on the allow-list of `optimizers`.
        lr: Peak learning rate.
        options: Further arguments of the torch class, such as `betas`.
        lr_schedule: constant, or half a cosine down to `final_fraction` of `lr`.
        warmup_fraction: Share of training over which the rate rises from 0 to `lr`.
    """

    name: str
    lr: Annotated[float, Gt(0)]
    weight_decay: Annotated[float, Ge(0)] = 0.0
    options: tuple[tuple[str, Any], ...] = ()
    lr_schedule: Literal["constant", "cosine"] = "cosine"
    warmup_fraction: Fraction = 0.05
    final_fraction: Fraction = 0.0


@dataclass(frozen=True, slots=True)
class TrainSpec:
    """How one trial is trained and how often it is scored.

    Args:
        clip: Largest norm of a trial's gradient; None leaves it alone.
        score_every: Epochs between two scorings; the last epoch is always scored.
        mode, score_mode: fused (trials share one model) or looped; auto times both at sweep start.
        threads: CPU threads, on which trials train side by side; None takes torch's default, one a core.
    """

    epochs: Positive
    batch_size: Annotated[int, Interval(ge=2, le=LARGEST)]
    clip: Annotated[float, Gt(0)] | None = None
    score_every: Positive = 1
    mode: Mode = "auto"
    score_mode: Mode = "auto"
    device: str = "auto"
    threads: Positive | None = None


@dataclass(frozen=True, slots=True)
class Range:
    """Searched number in [low, high], on a log scale or not, whole or not."""

    low: float
    high: float
    log: bool = False
    integer: bool = False


@dataclass(frozen=True, slots=True)
class Choices:
    """Picked from a list."""

    options: tuple[float | str, ...]


Value = float | str | Range | Choices


@dataclass(frozen=True, slots=True)
class Several:
    """List of values: how many there are, itself fixed or searched, and what each is, for as many as there can be."""

    count: Value
    entries: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class NoiseBranch:
    """What is searched for one noise, once that noise was picked.

    Args:
        magnitude, fraction, level: fraction and level are None for noises without that knob.
        schedule: Kind of schedule, fixed or picked.
        curves: Schedule kind -> parameter -> value.
        every: Parameter of the gate -> value, `cycles` being "none" where there is no gate; None for none at all.
    """

    magnitude: Value
    fraction: Value | None
    level: Value | None
    schedule: Value
    curves: Mapping[str, Mapping[str, Value | Several]]
    every: Mapping[str, Value] | None = None


@dataclass(frozen=True, slots=True)
class SiteSpace:
    """At most one noise at a site: the names to pick from ("none" among them or not) and a branch for each."""

    site: str
    noises: tuple[str, ...]
    branches: Mapping[str, NoiseBranch]


@dataclass(frozen=True, slots=True)
class Space:
    """Search space over policies: one entry a site."""

    sites: tuple[SiteSpace, ...]


@dataclass(frozen=True, slots=True)
class ObjectiveSpec:
    """What Optuna maximises, and what it is to keep to.

    Args:
        name: `combined` is weight * clean + (1 - weight) * robust; `pareto` is both, clean and robust.
        weight: Of clean accuracy in the score, which every trial has whatever is maximised.
        clean_drop: Largest loss of clean accuracy against the no-noise control, in accuracy above chance; None sets
            no limit.
        family_drop: The same for the family of corruptions that a trial handles worst.
    """

    name: Literal["combined", "pareto"] = "combined"
    weight: Fraction = 0.5
    clean_drop: Fraction | None = None
    family_drop: Fraction | None = None


@dataclass(frozen=True, slots=True)
class SamplerSpec:
    """Who proposes policies, and how many are asked at once.

    Args:
        name: Of Optuna's sampler.
        batch: Trials that are asked at once, without knowing of each other's results.
        startup_trials: Of `tpe` and `gp`: trials drawn at random before the model is asked.
        population: Of `nsga2`: trials of a generation.
        warm_start: Cards whose policies are tried first, in this order.
    """

    name: Literal["tpe", "random", "nsga2", "qmc", "gp"] = "tpe"
    batch: Positive = 8
    startup_trials: Positive = 10
    population: Annotated[int, Interval(ge=2, le=LARGEST)] = 24
    warm_start: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StoppingSpec:
    """When trials that do badly stop: never, or at rungs; see `search.stopping`.

    Args:
        name: `halving` ranks by the score, `pareto_halving` by clean and robust accuracy.
        factor: One of so many trials goes on from a rung.
        at: Shares of the training after which trials are judged; where none is given, a rung has `factor` times the
            epochs of the one before.
        rungs: How many there are at most where `at` is empty, the last epoch among them.
        protect: Whether a trial is not judged before a tenth of its noise has acted. With two rungs it always is: no
            later one could judge it.
        average: Whether scores before the last epoch are those of weights averaged over their epoch, which tell better
            how a training ends; those after it never are.
    """

    name: Literal["none", "halving", "pareto_halving"] = "none"
    factor: Annotated[float, Interval(ge=1.2, le=100)] = 3.0
    at: tuple[Annotated[float, Interval(gt=0, lt=1)], ...] = ()
    rungs: Annotated[int, Interval(ge=2, le=20)] = 3
    protect: bool = True
    average: bool = False


@dataclass(frozen=True, slots=True)
class BudgetSpec:
    """Totals for the sweep, controls not counted.

    Args:
        trials: That are asked.
        minutes: After which no job is started, of jobs over all runs of the sweep; None for no limit.
        seeds: With which every trial is trained; its scores are the means.
    """

    trials: Positive
    minutes: Annotated[float, Gt(0)] | None = None
    seeds: Annotated[int, Interval(ge=1, le=100)] = 1


Retries = Annotated[int, Interval(ge=0, le=100)]


@dataclass(frozen=True, slots=True)
class RetriesSpec:
    """How often a trial that fails alone is tried again, by what went wrong.

    Args:
        error: Training raised an error.
        memory: Memory ran out, with the trial alone in its job.
        lost: The job ended without the trial's result.
    """

    error: Retries = 1
    memory: Retries = 1
    lost: Retries = 3


@dataclass(frozen=True, slots=True)
class DriverSpec:
    """How the driver cuts work into jobs, and how many train side by side.

    A trial's numbers depend on none of this. Which trials are asked for does where jobs train side by side: a sampler
    knows less of those under way. With `ordered` it is a function of `window` alone.

    Args:
        cohort: Slots of a job.
        window: Jobs under way at the same time; None takes as many as the executor has places.
        ordered: Whether results are applied in the order in which jobs were planned, so that a sweep repeats; else as
            they come, which keeps slow jobs from holding up others.
        share_prefix: Whether trials whose noise starts later take what the no-noise control has trained until then.
            Only with rungs, where its states are kept.
        retries: How often a trial that fails alone is tried again.
    """

    cohort: Positive = 16
    window: Positive | None = None
    ordered: bool = False
    share_prefix: bool = True
    retries: RetriesSpec = RetriesSpec()


@dataclass(frozen=True, slots=True)
class ControlsSpec:
    """Fixed policies trained beside the trials: no noise always, constants and random policies as many."""

    constants: Annotated[int, Interval(ge=0, le=1000)] = 6
    random: Annotated[int, Interval(ge=0, le=1000)] = 2


@dataclass(frozen=True, slots=True)
class TrackingSpec:
    """Where MLflow keeps the runs, or no tracking at all.

    Args:
        enabled: Whether there are runs.
        experiment: Name of theirs.
        uri: Of an MLflow server, without user and password, which come from the environment; None takes the store's
            own database.
    """

    enabled: bool = True
    experiment: Annotated[str, Len(1, 200)] = "noise_search"
    uri: str | None = None


@dataclass(frozen=True, slots=True)
class StoreSpec:
    """Where the store lies.

    Args:
        url: A folder, or the URL of a PostgreSQL database.
        checkpoints: Folder or fsspec URL of the checkpoints of all its sweeps; None puts them with the other files.
        retry_seconds: How long a sweep waits for a PostgreSQL server that is lost.
    """

    url: str
    checkpoints: str | None = None
    retry_seconds: Annotated[float, Interval(ge=0, le=7 * 86400)] = 300.0


@dataclass(frozen=True, slots=True)
class LogSpec:
    """The log of a sweep, beside its other files.

    Args:
        level: From which on lines are written.
        megabytes: Of a file, before another is begun.
        kept: Earlier files that stay.
    """

    level: Literal["debug", "info", "warning", "error"] = "info"
    megabytes: Annotated[int, Interval(ge=1, le=10_000)] = 10
    kept: Annotated[int, Interval(ge=1, le=1_000)] = 5


@dataclass(frozen=True, slots=True)
class SweepSpec:
    """One search, whole. `suite` is the frozen suite as `corruptions.suites` reads it."""

    name: str
    seed: Seed
    data: DataSpec
    model: ModelSpec
    optimizer: OptimizerSpec
    space: Space
    suite: Any
    objective: ObjectiveSpec
    sampler: SamplerSpec
    budget: BudgetSpec
    train: TrainSpec
    driver: DriverSpec
    controls: ControlsSpec
    tracking: TrackingSpec
    store: StoreSpec
    experiment: str = "sweep"
    stopping: StoppingSpec = StoppingSpec()
    executor: ExecutorSpec = field(default_factory=InlineSpec)
    log: LogSpec = LogSpec()
    raw: Mapping[str, Any] = field(default_factory=dict)
