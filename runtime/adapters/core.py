"""
Drop-in for the production core: its loader, its bundle and its payment connector on top of our connectors.

    from runtime.adapters.core import install; install()

One line at the start of the core's process. The core is imported when that line runs and never by an import of this
package, which does not depend on it; what is replaced is looked up by name.
"""

import importlib
import logging
import os
import sys
import threading
import types
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, is_dataclass, make_dataclass, replace
from typing import Any

from middleware._internal.forks import renew_in_child
from middleware._internal.loggers import LibraryLogger
from middleware.errors import ConfigError
from middleware.events import FanOut, Listener
from middleware.host_layers import HostLayers, as_host_layers
from middleware.stack import Telemetry
from runtime.connectors import loader
from runtime.connectors.loader import ConnectorConfig
from runtime.connectors.registry import connectors
from runtime.settings.mode import mode_of

from .core_logs import GatewayLines
from .core_payment import CoreNames, ManagedPayment, MockPayment

__all__ = [
    "Installation",
    "get_connectors",
    "install",
    "is_managed_mode",
    "load_connectors",
    "reset_connectors",
    "uninstall",
]

_LOADER, _CONNECTORS = "mozaiks_app.runtime.connector_loader", "mozaiks_app.connectors"
_BASE, _MANAGED, _MOCK = f"{_CONNECTORS}.base", f"{_CONNECTORS}.managed", f"{_CONNECTORS}.mock"
# Without these there is nothing to adapt to.
_REQUIRED = {
    _LOADER: ("load_connectors",),
    _BASE: ("CheckoutResponse", "OkResponse", "PaymentConnector", "PaymentStatus"),
}
_OPTIONAL = {
    _LOADER: ("ConnectorBundle", "is_managed_mode"),
    _CONNECTORS: ("ConnectorBundle", "get_connectors", "reset_connectors"),
    _MANAGED: ("GatewayRequestError", "ManagedPaymentConnector"),
    _MOCK: ("MockPaymentConnector",),
}

# The core's own payment policy; 5 s for connecting is our default too. Settings for the service in the environment or
# in a file win.
_PAYMENT_POLICY = {
    "services": {
        "payment": {
            "retry": {
                "max_attempts": 3,
                "not_sent_max_attempts": 3,
                **{f"{kind}base_delay_s": 0.25 for kind in ("", "throttle_", "not_sent_")},
                **{f"{kind}max_delay_s": 2.0 for kind in ("", "throttle_", "not_sent_")},
            },
            "attempt": {"timeout_s": 10.0},
        }
    }
}
# Its lines at DEBUG take a sixth of a call's time under the core's root level, and show headers of responses.
_NOISY = "httpcore"

_log = LibraryLogger("mozaiks.adapters.core", prints_unconfigured=True)
_mode_log = LibraryLogger("mozaiks.mode", prints_unconfigured=True)
_ABSENT = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """
    What `install` found and replaced.

    Attributes:
        replaced: Names that are ours now, as `module.name`; those that other modules bound at their import included.
        missing: Names that the core does not have.
        kept: Names that could not be replaced, and still are the core's own.
    """

    replaced: tuple[str, ...]
    missing: tuple[str, ...]
    kept: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Installed:
    """What the functions of this module use while the adapter is installed, and what `uninstall` restores."""

    report: Installation
    bundle: Any
    managed: Any
    mock: Any
    reset_core: Callable[[], Any]
    undo: list[Callable[[], Any]] = field(repr=False)


_lock = threading.RLock()
_installed: _Installed | None = None
_last: tuple[loader.ConnectorBundle, Any] | None = None
_bundles: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
_logged: tuple[str, ...] = ()  # problems of the mode that were logged last


def _renew_lock() -> None:
    global _lock  # noqa: PLW0603 - a thread that does not exist in the child may have acquired it
    _lock = threading.RLock()


renew_in_child(_renew_lock)


# --- what the core calls ----------------------------------------------------------------------------------------------


def load_connectors() -> Any:
    """
    Return the core's bundle for the current environment; the same one for the same settings.

    Raises:
        ConfigError: A setting is unusable, or the adapter is not installed.
    """
    return _bundle_of(loader.load_connectors())


def get_connectors() -> Any:
    """Return the bundle that was loaded first, until `reset_connectors`; errors as of `load_connectors`."""
    return _bundle_of(loader.get_connectors())


def reset_connectors() -> None:
    """Close the connectors, and let the core load them anew."""
    global _last, _logged
    loader.reset_connectors()
    with _lock:
        _last, _logged = None, ()
        _bundles.clear()
        if _installed is not None:
            _installed.reset_core()


def is_managed_mode() -> bool:
    """Return whether the environment selects managed mode, by the core's rule; an unknown word counts as off."""
    found: list[str] = []
    mode = mode_of(os.environ, found)
    _log_mode(found)
    return mode.managed


def _bundle_of(inner: loader.ConnectorBundle) -> Any:
    global _last  # noqa: PLW0603 - see load_connectors
    last = _last
    if last is not None and last[0] is inner:
        return last[1]
    with _lock:
        installed = _installed
        if installed is None:
            raise ConfigError("runtime.adapters.core: install() first")
        made = _bundles.get(id(inner))
        if made is None:
            is_managed = inner.mode == "managed"
            payment = installed.managed(loader.client_of(inner, "payment")) if is_managed else installed.mock()
            others = {name: getattr(inner, name) for name in _others() if hasattr(inner, name)}
            made = installed.bundle(inner.mode, payment, **others, _inner=inner)
            _bundles[id(inner)] = made
        _last = inner, made
        return made


# --- installation -----------------------------------------------------------------------------------------------------


def install(*, telemetry: Telemetry | None = None, middleware: HostLayers | None = None) -> Installation:
    """
    Put the connectors of this package in the place of the core's; a second call changes nothing.

    Before the core's routes are imported, or after: names that loaded modules have bound are replaced there too.
    Plugins that use `runtime.connectors.loader` share the core's bundle. Bundles that were loaded before are closed.

    Args:
        telemetry: Receives spans, metrics and events; None uses the process's global providers.
        middleware: Layers of the host's own.

    Raises:
        ConfigError: The mode or a setting is unusable, a switch for managed mode is on without the gateway's URL, or
            the core is not here. Nothing was changed then.
    """
    global _installed  # noqa: PLW0603 - what this function is for
    with _lock:
        if _installed is not None:
            return _installed.report
        layers, given = as_host_layers(middleware), telemetry or Telemetry()
        _check_mode()
        made = _found_in_core()
        reported = replace(given, listener=_listener(given.listener))

        def config(environ: Mapping[str, str], require_managed: bool) -> ConnectorConfig:
            return ConnectorConfig.from_env(
                _by_core_rule(environ),
                defaults=_PAYMENT_POLICY,
                telemetry=reported,
                middleware=layers,
                require_managed=require_managed,
            )

        config(dict(os.environ), require_managed=False)  # every other setting too
        loader.set_config_of_environment(config)
        _installed = _replaced(made)
        reset_connectors()
    report = _installed.report
    _log.log(logging.INFO, f"core.installed {len(report.replaced)} names", {"replaced": report.replaced})
    if report.missing:
        names = ", ".join(report.missing)
        _log.log(logging.WARNING, f"core.missing not in this core: {names}", {"missing": report.missing})
    if report.kept:
        names = ", ".join(report.kept)
        _log.log(logging.WARNING, f"core.kept still the core's own: {names}", {"kept": report.kept})
    return report


def uninstall() -> None:
    """
    Restore the core's own names and close the connectors; without an installation it does nothing.

    In modules too that were imported meanwhile and have bound ours.
    """
    global _installed  # noqa: PLW0603 - see install
    with _lock:
        if _installed is None:
            return
        reset_connectors()
        for undo in reversed(_installed.undo):
            undo()
        _installed = None
        loader.set_config_of_environment(None)


def _check_mode() -> None:
    found: list[str] = []
    mode = mode_of(os.environ, found)
    if not found and mode.incomplete:
        found.append(mode.reason)
    if found:
        raise ConfigError(found)


def _by_core_rule(environ: Mapping[str, str]) -> Mapping[str, str]:
    """Return *environ* without words that are no words of their variable: once installed, they count as off."""
    found: list[str] = []
    mode_of(environ, found)
    _log_mode(found)
    return {**environ, **{problem.partition(":")[0]: "" for problem in found}}


def _log_mode(found: list[str]) -> None:
    global _logged
    is_new, _logged = tuple(found) != _logged, tuple(found)
    if found and is_new:
        reason = "; ".join(found)
        _mode_log.log(logging.WARNING, f"mode.unreadable {reason}", {"event": "mode.unreadable", "reason": reason})


def _listener(given: Listener | None) -> Listener:
    return GatewayLines() if given is None else FanOut([GatewayLines(), given])


def _others() -> list[str]:
    return [one.name for one in connectors() if one.name != "payment"]


class _Core:
    """
    The core's names, looked up once.

    Attributes:
        missing: Those that are not there.
    """

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}
        self.missing: list[str] = []
        problems = []
        for names, is_required in ((_REQUIRED, True), (_OPTIONAL, False)):
            for module, own in names.items():
                imported, problem = _imported(module)
                for name in own:
                    value = getattr(imported, name, None) if imported is not None else None
                    if value is not None:
                        self._values[f"{module}.{name}"] = value
                    elif is_required:
                        problems.append(f"{module}.{name}: not found{problem}")
                    else:
                        self.missing.append(f"{module}.{name}")
        if problems:
            raise ConfigError(problems)

    def get(self, module: str, name: str, default: Any = None) -> Any:
        """Return the core's object of that name; *default* where the core does not have it."""
        return self._values.get(f"{module}.{name}", default)


def _imported(module: str) -> tuple[Any, str]:
    try:
        return importlib.import_module(module), ""
    except Exception as error:  # noqa: BLE001 - the core's own code runs
        return None, f" ({type(error).__name__} at its import)"


def _found_in_core() -> tuple[_Core, dict[str, Any]]:
    """Return the core's names, and our classes on top of them."""
    core = _Core()
    abstract = core.get(_BASE, "PaymentConnector")
    names = CoreNames(
        checkout_response=core.get(_BASE, "CheckoutResponse"),
        payment_status=core.get(_BASE, "PaymentStatus"),
        ok_response=core.get(_BASE, "OkResponse"),
        error=_error_of(core.get(_MANAGED, "GatewayRequestError", Exception)),
    )
    # Subclasses of the core's own classes where it has them, so that `isinstance` works with the old names too.
    classes = {
        "managed": (ManagedPayment, core.get(_MANAGED, "ManagedPaymentConnector", abstract)),
        "mock": (MockPayment, core.get(_MOCK, "MockPaymentConnector", abstract)),
    }
    made: dict[str, Any] = {
        kind: types.new_class(f"{kind.capitalize()}PaymentConnector", bases, exec_body=_body(names, bases[0].__doc__))
        for kind, bases in classes.items()
    }
    made["bundle"] = _bundle_class(core.get(_LOADER, "ConnectorBundle"))
    return core, made


def _body(names: CoreNames, docs: str | None) -> Callable[[dict[str, Any]], None]:
    return lambda namespace: namespace.update(core=names, __doc__=docs, __module__=__name__)


def _error_of(base: Any) -> Any:
    """Return an error of the core's, made without its constructor, whose arguments are its own affair."""

    def make(self: Any, message: str = "", status_code: int | None = None) -> None:
        Exception.__init__(self, message)
        self.status_code = status_code

    namespace = {"__init__": make, "__module__": __name__, "__str__": Exception.__str__}
    return type("GatewayRequestError", (base,), namespace)


def _bundle_class(old: Any) -> Any:
    """Return the class of bundles: `mode`, `payment`, and our other connectors; the core's is its base if it fits."""
    is_base = is_dataclass(old) and [one.name for one in fields(old)] == ["mode", "payment"]
    own: list[Any] = [] if is_base else [("mode", str), ("payment", Any)]
    own += [(name, Any, field(default=None)) for name in _others()]
    own.append(("_inner", Any, field(default=None, repr=False, compare=False)))
    namespace = {"__module__": __name__, "__doc__": "The core's bundle of connectors: `mode` and `payment`, and ours."}
    return make_dataclass("ConnectorBundle", own, bases=(old,) if is_base else (), namespace=namespace, frozen=True)


def _replaced(found: tuple[_Core, dict[str, Any]]) -> _Installed:
    core, made = found
    ours = {
        (_LOADER, "load_connectors"): load_connectors,
        (_LOADER, "is_managed_mode"): is_managed_mode,
        (_LOADER, "ConnectorBundle"): made["bundle"],
        (_CONNECTORS, "get_connectors"): get_connectors,
        (_CONNECTORS, "reset_connectors"): reset_connectors,
        (_CONNECTORS, "ConnectorBundle"): made["bundle"],
    }
    known = {key: new for key, new in ours.items() if core.get(*key) is not None}
    # The last of all: what was imported after us has bound ours.
    undo: list[Callable[[], Any]] = [lambda: _rebind({id(new): core.get(*key) for key, new in known.items()})]
    replaced, kept = [], []
    places = [(sys.modules[module], name, new) for (module, name), new in known.items()]
    places += [
        one for one in _bound_elsewhere({id(core.get(*key)): new for key, new in known.items()}) if one not in places
    ]
    for owner, name, new in places:
        place = f"{owner.__name__}.{name}"
        before = vars(owner).get(name, _ABSENT)
        try:
            setattr(owner, name, new)
        except Exception:  # noqa: BLE001 - a module of any kind
            kept.append(place)
        else:
            replaced.append(place)
            undo.append(_restoring(owner, name, before))
    noisy = logging.getLogger(_NOISY)
    if noisy.level == logging.NOTSET:
        noisy.setLevel(logging.WARNING)
        undo.append(lambda: noisy.setLevel(logging.NOTSET))
    return _Installed(
        report=Installation(replaced=tuple(replaced), missing=tuple(core.missing), kept=tuple(kept)),
        bundle=made["bundle"],
        managed=made["managed"],
        mock=made["mock"],
        reset_core=core.get(_CONNECTORS, "reset_connectors", lambda: None),
        undo=undo,
    )


def _bound_elsewhere(new: Mapping[int, Any]) -> list[tuple[Any, str, Any]]:
    """Return where loaded modules have bound the objects with these ids: module, name, and what replaces it."""
    found = []
    for module in list(sys.modules.values()):
        if not isinstance(module, types.ModuleType) or module.__name__ == __name__:
            continue
        found += [(module, name, new[id(value)]) for name, value in list(vars(module).items()) if id(value) in new]
    return found


def _rebind(new: Mapping[int, Any]) -> None:
    for owner, name, value in _bound_elsewhere(new):
        with suppress(Exception):  # a module of any kind
            setattr(owner, name, value)


def _restoring(module: Any, name: str, before: Any) -> Callable[[], None]:
    def restore() -> None:
        if before is _ABSENT:
            delattr(module, name)
        else:
            setattr(module, name, before)

    return restore
