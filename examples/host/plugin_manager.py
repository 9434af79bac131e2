"""Finds plugins and runs them, by the conventions of the production core's plugin manager."""

import asyncio
import importlib
import inspect
import pkgutil
from collections.abc import Callable
from typing import Any

from . import plugins

__all__ = ["PluginManager"]

BUDGET_S = 30.0


class PluginManager:
    """
    The modules of a package as plugins: each has `execute`, else `run`, which takes one dictionary.

    Args:
        package: The package.
        budget_s: Seconds after which a plugin is cancelled.
    """

    def __init__(self, package: Any = plugins, budget_s: float = BUDGET_S) -> None:
        self._budget_s = budget_s
        self._found: dict[str, Callable[[dict[str, Any]], Any]] = {}
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            loaded = importlib.import_module(module.name)
            function = getattr(loaded, "execute", None) or getattr(loaded, "run", None)
            if function is not None:
                self._found[module.name.rpartition(".")[2]] = function

    @property
    def names(self) -> list[str]:
        """Names of the plugins."""
        return sorted(self._found)

    async def execute(self, name: str, data: dict[str, Any]) -> dict[str, Any]:
        """Run a plugin; any failure is an object with the key `error`."""
        function = self._found.get(name)
        if function is None:
            return {"error": f"Plugin {name} not found", "error_code": "NOT_FOUND"}
        try:
            if not inspect.iscoroutinefunction(function):
                found: dict[str, Any] = function(data)
            else:
                async with asyncio.timeout(self._budget_s):
                    found = await function(data)
        except TimeoutError:
            return {"error": f"Plugin {name} timed out", "error_code": "TIMEOUT"}
        except Exception as error:  # noqa: BLE001 - a plugin's own code
            return {"error": f"Plugin {name} failed: {type(error).__name__}", "error_code": "PLUGIN_FAILED"}
        return found
