"""
`python3 -m runtime demo --replicas N`: N processes, one quota, and a server that is stopped, killed and started.

What is shown is counted from the gateway's own log.
"""

import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from .replicas import (
    PerSecond,
    QuotaServer,
    ReplicaEndedError,
    Replicas,
    ReplicasResult,
    ServerUnavailableError,
    per_second,
)
from .story import Step, make_console, save_picture, show_end, show_step

if TYPE_CHECKING:
    from runtime.gateway import GatewayProcess

__all__ = ["run"]

_RATE, _BURST = 100, 20
_CALLERS = 12
_PENALTY_S = 3
_BAR = 30
_WELL_S, _PAUSED_S, _KILLED_S = 4, 3, 3


def run(count: int, *, as_json: bool, picture: str | None) -> int:
    """Run the story; returns 0 only if every check passed, 2 where it cannot begin."""
    from runtime.gateway import GatewayProcess

    console = make_console(as_json=as_json, picture=picture)
    started = time.monotonic()
    try:
        with QuotaServer() as server, GatewayProcess() as gateway:
            steps = _story(count, server, gateway, lambda step: show_step(console, step))
    except (ReplicaEndedError, ServerUnavailableError) as error:
        sys.stderr.write(f"demo: {error}\n")
        return 2
    ok = show_end(console, steps, elapsed_s=time.monotonic() - started, as_json=as_json)
    return save_picture(console, picture, None, code=0 if ok else 1)


def _story(count: int, server: QuotaServer, gateway: "GatewayProcess", show: Callable[[Step], None]) -> list[Step]:
    """Run the processes once, do to the server what the story says, then count what the gateway has read."""
    from runtime.gateway import Fault

    paused = _WELL_S
    resumed = paused + _PAUSED_S
    killed = resumed + _WELL_S
    back = killed + _KILLED_S
    throttled = back + _WELL_S
    seconds = throttled + _PENALTY_S + 3
    quota = {"per_second": _RATE, "burst": _BURST, "replicas": count, "url": server.url}
    replicas = Replicas(
        count, gateway=gateway.url, settings={"quota": quota}, callers=max(2, 4 * _CALLERS // count), seconds=seconds
    )
    beginning = Step(title=f"{count} processes, one quota of {_RATE}/s in {server.name}; the story takes {seconds} s")
    show(beginning)
    replicas.begin()
    faults: list[tuple[int, str, Callable[[], None]]] = [
        (paused, "the server is stopped", server.pause),
        (resumed, "it goes on", server.resume),
        (killed, "the server is killed", server.kill),
        (back, "it is started, empty", server.start),
        (
            throttled,
            f"429, Retry-After: {_PENALTY_S} to one of them",
            lambda: gateway.script(Fault(kind="status", status=429, retry_after=str(_PENALTY_S))),
        ),
    ]
    for at, _, act in faults:
        time.sleep(max(0.0, replicas.began_at + at - time.monotonic()))
        act()
    result = replicas.result()
    log = gateway.requests()
    counted = per_second(log, count=count, began_at=replicas.began_at, seconds=seconds)
    marks = {at: text for at, text, _ in faults}
    steps = [beginning]
    chart = Step(title="Requests per second, as the gateway read them")
    chart.output = _chart(counted, marks)
    steps.append(chart)
    steps.append(_shared(counted, paused))
    steps.append(_ill(result, counted, count, (paused, resumed), "stopped"))
    steps.append(_ill(result, counted, count, (killed, back), "killed"))
    steps.append(_penalty(log, replicas.began_at))
    for step in steps[1:]:
        show(step)
    return steps


def _chart(counted: PerSecond, marks: dict[int, str]) -> str:
    """Draw a bar for each second, and what happened at its beginning."""
    most = max(_RATE, *counted.totals)
    lines = []
    for second, total in enumerate(counted.totals):
        bar = "█" * round(total / most * _BAR)
        lines.append(f"  {second:>3} s {bar:<{_BAR}} {total:>4}  {marks.get(second, '')}".rstrip())
    return "\n".join(lines)


def _shared(counted: PerSecond, until: int) -> Step:
    step = Step(title="The server is well: one quota, however many processes")
    seconds = counted.totals[1:until]  # the first one has the burst, and the processes' first connections
    mean = sum(seconds) / len(seconds)
    step.check(
        f"{mean:.0f} requests per second, and no second has more than {max(seconds)}", max(seconds) <= 1.3 * _RATE
    )
    shares = [sum(one) for one in zip(*counted.seconds[1:until], strict=True)]
    step.check(f"each process has its part: {_listed(shares)}", min(shares) > 0)
    return step


def _ill(result: ReplicasResult, counted: PerSecond, count: int, when: tuple[int, int], how: str) -> Step:
    begins, ends = when
    step = Step(
        title=f"The server is {how} for {ends - begins} s: each process keeps to {_RATE / count:g}/s of its own"
    )
    during = counted.totals[begins:ends]
    step.check(f"{_listed(during)} requests in these seconds: none is empty", min(during) > 0)
    step.check(f"no second has more than {max(during)}", max(during) <= 2 * _RATE)
    here = [one for one in result.switches if begins <= one[1] < ends + _WELL_S]
    # Of each process the source before, which on a busy machine may have been its share already.
    before = {number: source for number, at, source, _ in result.switches if at < begins}
    local = {number for number, _, source, _ in here if source == "local"}
    local |= {number for number, source in before.items() if source == "local"}
    shared = {number for number, _, source, _ in here if source == "shared"}
    reasons = _listed(sorted({reason for *_, reason in here if reason}))
    step.check(f"{len(local)} processes went to their share ({reasons})", len(local) == count)
    step.check(f"{len(shared)} shared again, by themselves", len(shared) == count)
    step.check(f"failed calls: {dict(result.failed) or 'none'}", not result.failed)
    return step


def _penalty(log: Sequence[dict[str, Any]], began_at: float) -> Step:
    step = Step(title="A Retry-After that one process was given holds for all")
    rejected = next((one for one in log if one["status"] == 429), None)  # noqa: PLR2004
    step.check("one request got 429", rejected is not None)
    if rejected is not None:
        # What was on its way already arrives yet; the others know after 0.25 s, and on a busy machine later.
        begins = rejected["at_s"] + 1.0
        quiet = [one["at_s"] for one in log if begins < one["at_s"] < rejected["at_s"] + _PENALTY_S - 0.01]
        step.check(f"from a second later on {len(quiet)} requests until its end, of all processes", not quiet)
        later = next((one["at_s"] for one in log if one["at_s"] >= rejected["at_s"] + _PENALTY_S - 0.01), None)
        text = "never" if later is None else f"{later - rejected['at_s']:.2f} s"
        step.check(f"the next one after {text}, at {rejected['at_s'] - began_at + _PENALTY_S:.1f} s", later is not None)
    return step


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(map(str, values))
