"""
Models of a service that is ill: what it does with each request, and when.

A model is written as text, `NAME` or `NAME:VALUE`. A service is made from it for one run, and says of each request at
its arrival what becomes of it. What a client gave up is still worked on, as it is in life.
"""

import heapq
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Literal, NamedTuple, TypeAlias

__all__ = ["FAULTS", "MODELS", "Effect", "Model", "Service", "Setting", "model_of"]

_SPREAD = 0.3  # sigma of the logarithm of a healthy latency
_LOAD = 0.83  # of the capacity, where a model has one: what a service is commonly sized for
_RESTART = 0.1  # share of its capacity with which a service starts again


class Effect(NamedTuple):
    """
    What becomes of one request.

    Attributes:
        kind: `respond` with *status*; `hang`: read and never responded to; `refused`: no connection; `lost`: read, and
            the connection reset; `half_body`: a 200 whose body ends too early.
        after_s: Time from its arrival to that.
        status: HTTP status.
        retry_after_s: Value of Retry-After; None for none.
    """

    kind: Literal["respond", "hang", "refused", "lost", "half_body"]
    after_s: float = 0.0
    status: int = 200
    retry_after_s: float | None = None


Service: TypeAlias = Callable[[float], Effect]
"""What a service does with a request that arrives at a time in seconds from the start of the run."""


class Setting(NamedTuple):
    """
    What a service is made for.

    Attributes:
        rate: Calls per second of all processes together.
        latency_s: Latency when all is well: the median, or the mean service time of a model with a queue.
        ill_from_s: When the service becomes ill.
        ill_until_s: When it is well again.
        spread: Whether healthy latencies vary; else each is *latency_s*.
    """

    rate: float
    latency_s: float
    ill_from_s: float
    ill_until_s: float
    spread: bool = True

    def is_ill(self, now: float) -> bool:
        """Return whether the service is ill at *now*."""
        return self.ill_from_s <= now < self.ill_until_s


@dataclass(frozen=True)
class Model:
    """
    A model of a service.

    Attributes:
        text: As it was written.
        name: Its kind.
        values: The numbers of its value: shares as 0 to 1, times in seconds.
        word: The word of its value, for example the fault of an outage.
    """

    text: str
    name: str
    values: tuple[float, ...] = ()
    word: str = ""

    @property
    def is_fault(self) -> bool:
        """True for a fault that every request meets in the same way."""
        return self.name in FAULTS or (self.name == "status")

    def service(self, setting: Setting, random: Random) -> Service:
        """Make the service of one run; *random* is its source of chance."""
        return _MAKERS[self.name](self, setting, random)


class _Kind(NamedTuple):
    """
    A kind of model, for people and for the parser.

    Attributes:
        form: How it is written.
        default: Its value where none is given; None where it takes none.
        pattern: What its value must be.
        doc: What the service does.
    """

    form: str
    default: str | None
    pattern: str
    doc: str


_SHARE, _TIME, _NUMBER = r"(\d+(?:\.\d+)?)%", r"(\d+(?:\.\d+)?)(ms|s|)", r"(\d+(?:\.\d+)?)"

FAULTS = {
    "hang": _Kind("hang", None, "", "reads each request and never responds"),
    "refused": _Kind("refused", None, "", "refuses each connection"),
    "slow": _Kind("slow:2s", "2s", _TIME, "responds to each request, after this time"),
    "lost": _Kind("lost[:20%]", "100%", _SHARE, "reads a request and resets its connection"),
    "half-body": _Kind("half-body[:20%]", "100%", _SHARE, "a 200 whose body ends too early"),
    "flapping": _Kind("flapping:5s", "5s", _TIME, "503 for this time, then well for as long, and so on"),
}
"""Faults that a single call can be explained under; so can a status, `503` or `429:30` with its Retry-After."""

MODELS = {
    **FAULTS,
    "errors": _Kind("errors:30%", "30%", _SHARE, "500 to a share of the requests, each by chance"),
    "outage": _Kind("outage[:503]", "503", r"(503|hang|refused)", "each request fails: 503, hang or refused"),
    "brownout": _Kind("brownout:1.5", "1.5", _NUMBER, "works slower by this factor, with a queue before it"),
    "throttling": _Kind("throttling:60%", "60%", _SHARE, "takes this share of the calls; 429, Retry-After 1 to others"),
    "spikes": _Kind("spikes:5%/3s", "5%/3s", f"{_SHARE}/{_TIME}", "a share of the requests takes this much longer"),
    "slow-start": _Kind(
        "slow-start:10s", "10s", _TIME, "refused, then at a tenth of its capacity, rising for this time"
    ),
    "bad-replica": _Kind("bad-replica:3", "3", _NUMBER, "one of this many replicas responds 500 to all it gets"),
}
"""Every model by its name; a status is one too."""


def model_of(text: str) -> Model:
    """
    Read a model, for example `errors:30%`, `429:30` or `hang`.

    Raises:
        ValueError: There is no such model, or its value is none that it takes.
    """
    name, colon, value = text.strip().partition(":")
    if re.fullmatch(r"[345]\d\d", name):
        return _status_model(text, name, value, has_value=bool(colon))
    kind = MODELS.get(name)
    if kind is None:
        raise ValueError(
            f"{text!r}: no such model; there are {', '.join(one.form for one in MODELS.values())}, 503, 429:30"
        )
    if colon and kind.default is None:
        raise ValueError(f"{text!r}: {name} takes no value")
    found = re.fullmatch(kind.pattern, value or kind.default or "")
    if found is None:
        raise ValueError(f"{text!r}: must be like {kind.form}")
    values, word = _values(kind.pattern, found)
    if any(not 0 < one <= most for one, most in zip(values, _most(name), strict=False)):
        raise ValueError(f"{text!r}: out of range; must be like {kind.form}")
    return Model(text.strip(), name, values, word)


def _status_model(text: str, status: str, value: str, *, has_value: bool) -> Model:
    if has_value and not re.fullmatch(r"\d+(\.\d+)?", value):
        raise ValueError(f"{text!r}: what follows a status is its Retry-After in seconds")
    return Model(text.strip(), "status", (float(status), *([float(value)] if has_value else [])))


def _most(name: str) -> tuple[float, ...]:
    return {"slow": (3600,), "flapping": (3600,), "slow-start": (3600,), "spikes": (1, 3600), "brownout": (100,)}.get(
        name, (100,) if name == "bad-replica" else (1,)
    )


def _values(pattern: str, found: re.Match[str]) -> tuple[tuple[float, ...], str]:
    if pattern == _TIME:
        return (_seconds(*found.groups()),), ""
    if pattern == _SHARE:
        return (float(found[1]) / 100,), ""
    if pattern == _NUMBER:
        return (float(found[1]),), ""
    if pattern == f"{_SHARE}/{_TIME}":
        return (float(found[1]) / 100, _seconds(found[2], found[3])), ""
    return (), found[1] if found.groups() else ""


def _seconds(number: str, unit: str) -> float:
    return float(number) / (1000 if unit == "ms" else 1)


# --- services ---------------------------------------------------------------------------------------------------------


def _healthy(setting: Setting, random: Random) -> Callable[[], float]:
    """Return the latency of the next healthy response."""
    if not setting.spread or setting.latency_s == 0:
        return lambda: setting.latency_s
    middle = math.log(setting.latency_s)
    return lambda: random.lognormvariate(middle, _SPREAD)


def _with_faults(setting: Setting, random: Random, fault: Callable[[float, float], Effect | None]) -> Service:
    """Make a service that is well but for what *fault* does, given the time and the latency, while it is ill."""
    latency = _healthy(setting, random)

    def respond(now: float) -> Effect:
        after_s = latency()
        found = fault(now, after_s) if setting.is_ill(now) else None
        return Effect("respond", after_s) if found is None else found

    return respond


def _by_chance(kind: Literal["lost", "half_body"]) -> Callable[[Model, Setting, Random], Service]:
    def make(model: Model, setting: Setting, random: Random) -> Service:
        (share,) = model.values
        return _with_faults(
            setting, random, lambda _, after_s: Effect(kind, after_s) if random.random() < share else None
        )

    return make


def _hang(_model: Model, setting: Setting, random: Random) -> Service:
    return _with_faults(setting, random, lambda *_: Effect("hang"))


def _refused(_model: Model, setting: Setting, random: Random) -> Service:
    return _with_faults(setting, random, lambda *_: Effect("refused"))


def _status(model: Model, setting: Setting, random: Random) -> Service:
    status, *after = model.values
    retry_after_s = after[0] if after else None
    return _with_faults(setting, random, lambda _, after_s: Effect("respond", after_s, int(status), retry_after_s))


def _slow(model: Model, setting: Setting, random: Random) -> Service:
    return _with_faults(setting, random, lambda *_: Effect("respond", model.values[0]))


def _flapping(model: Model, setting: Setting, random: Random) -> Service:
    (period_s,) = model.values

    def fault(now: float, after_s: float) -> Effect | None:
        return Effect("respond", after_s, 503) if int((now - setting.ill_from_s) / period_s) % 2 == 0 else None

    return _with_faults(setting, random, fault)


def _errors(model: Model, setting: Setting, random: Random) -> Service:
    (share,) = model.values
    return _with_faults(
        setting, random, lambda _, after_s: Effect("respond", after_s, 500) if random.random() < share else None
    )


def _outage(model: Model, setting: Setting, random: Random) -> Service:
    return model_of(model.word).service(setting, random)


def _throttling(model: Model, setting: Setting, random: Random) -> Service:
    """A token bucket of one second."""
    rate = model.values[0] * setting.rate
    tokens, at = max(1.0, rate), setting.ill_from_s

    def fault(now: float, after_s: float) -> Effect | None:
        nonlocal tokens, at
        tokens, at = min(max(1.0, rate), tokens + (now - at) * rate), now
        if tokens < 1:
            return Effect("respond", after_s / 10, 429, 1.0)  # a limiter rejects before the service works
        tokens -= 1
        return None

    return _with_faults(setting, random, fault)


def _spikes(model: Model, setting: Setting, random: Random) -> Service:
    share, longer_s = model.values
    return _with_faults(
        setting,
        random,
        lambda _, after_s: Effect("respond", after_s + longer_s) if random.random() < share else None,
    )


def _bad_replica(model: Model, setting: Setting, random: Random) -> Service:
    replicas = int(model.values[0])
    return _with_faults(
        setting, random, lambda _, after_s: Effect("respond", after_s, 500) if random.randrange(replicas) == 0 else None
    )


def _queue(setting: Setting, random: Random, slower: Callable[[float], float]) -> Service:
    """
    Workers at 83 % load with a first-in-first-out queue before them; service times are exponential.

    As the order is fixed at arrival, so is the worker: the one that is free first.
    """
    workers = max(1, round(setting.rate * setting.latency_s / _LOAD))
    mean_s = _LOAD * workers / setting.rate  # so that rounding the workers does not change the load
    free_at = [0.0] * workers

    def respond(now: float) -> Effect:
        starts_at = max(now, free_at[0])
        ends_at = starts_at + random.expovariate(1 / (mean_s * slower(starts_at)))
        heapq.heapreplace(free_at, ends_at)
        return Effect("respond", ends_at - now)

    return respond


def _brownout(model: Model, setting: Setting, random: Random) -> Service:
    (factor,) = model.values
    return _queue(setting, random, lambda at: factor if setting.is_ill(at) else 1.0)


def _slow_start(model: Model, setting: Setting, random: Random) -> Service:
    (ramp_s,) = model.values

    def slower(at: float) -> float:
        share = (at - setting.ill_until_s) / ramp_s
        return 1.0 if share < 0 or share >= 1 else 1 / (_RESTART + (1 - _RESTART) * share)

    queue = _queue(setting, random, slower)
    return lambda now: Effect("refused") if setting.is_ill(now) else queue(now)


_MAKERS: dict[str, Callable[[Model, Setting, Random], Service]] = {
    "hang": _hang,
    "refused": _refused,
    "status": _status,
    "slow": _slow,
    "lost": _by_chance("lost"),
    "half-body": _by_chance("half_body"),
    "flapping": _flapping,
    "errors": _errors,
    "outage": _outage,
    "brownout": _brownout,
    "throttling": _throttling,
    "spikes": _spikes,
    "slow-start": _slow_start,
    "bad-replica": _bad_replica,
}
