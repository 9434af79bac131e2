"""
Each rule of the contract check: violations in disguise are found, close look-alikes are not.

Also the tests of `runtime.contract.checks` and `runtime.contract.triples`.
"""

import ast
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import pytest
from contract_support import CONNECTOR, GET, MOCK_GET, REGISTRY, changed, check, managed, mock, top

from runtime.contract import RULES

pytestmark = pytest.mark.torture


class Case(NamedTuple):
    """A connector, the files next to it, and its registry."""

    connector: str
    files: Mapping[str, str] = MappingProxyType({})
    registry: str = REGISTRY


ITEM = '@dataclass\nclass Item:\n    """An item."""\n\n    id: str\n    note: str | None = None\n    lines: list[Line] = field(default_factory=list)\n'
PROTOCOL = "class OrdersConnector(Protocol):"
MANAGED = "class ManagedOrdersConnector:"
MOCK = "class MockOrdersConnector:"
CALL = 'self._http.call(\n            _GET_ITEM, path_params={"item_id": item_id}, user_jwt=user_jwt, correlation_id=correlation_id\n        )'
SIGNATURE = 'async def get_item(self, item_id: str, *, user_jwt: str | None = None, correlation_id: str = "") -> Item:'
LINE = "@dataclass\nclass Line:"


def call(keywords, target="self._http.call"):
    return f'return await {target}(_GET_ITEM, path_params={{"item_id": item_id}}, {keywords})'


def forwarding(dropped, kept):
    """The disguises of an argument that does not arrive."""
    other = f"{kept}={kept}"
    both = f"{dropped}={dropped}, {other}"
    none = "None" if dropped == "user_jwt" else '""'
    return {
        "dropped": Case(managed(call(other))),
        "constant": Case(managed(call(f"{dropped}={none}, {other}"))),
        "alias": Case(managed(f"http = self._http\nsend = http.call\n{call(other, 'send')}")),
        "getattr": Case(managed(call(other, 'getattr(self._http, "call")'))),
        "getattr of an argument": Case(
            top(f"async def send(http, verb, item_id, user_jwt, correlation_id):\n    {call(other, 'getattr(http, verb)')}", managed("return await send(self._http, 'call', item_id, user_jwt, correlation_id)"))
        ),
        "helper": Case(
            managed(f"return await self._send(item_id, {both})", (MOCK, f"# mock\n{MOCK}"))
            .replace(
                f"# mock\n{MOCK}",
                "    async def _send(self, item_id: str, *, user_jwt: str | None, correlation_id: str) -> Item:\n"
                f"        {call(other)}\n\n\n{MOCK}",
            )
        ),
        "second file": Case(
            managed(f"return await send(self._http, item_id, {both})", ("import uuid", "import uuid\n\nfrom .sending import send")),
            {
                "sending.py": "from .base import Endpoint\n\n_GET_ITEM = Endpoint('GET', '/api/orders/items/{item_id}', 'get_item', decode)\n\n\n"
                "async def send(http, item_id, *, user_jwt, correlation_id):\n"
                f"    {call(other, 'http.call')}\n"
            },
        ),
        "one branch": Case(managed(f'if item_id == "me":\n    {call(other)}\n{call(both)}')),
        "overwritten": Case(managed(f"{dropped} = {none}\n{call(both)}")),
        "overwritten on a path": Case(managed(f'if item_id == "me":\n    {dropped} = {none}\n{call(both)}')),
        "conditional value": Case(managed(call(f"{dropped}={dropped} if item_id else {none}, {other}"))),
        "unpacked": Case(managed(f'context = {{"{kept}": {kept}}}\n{call("**context")}')),
        "popped": Case(managed(f'context = dict({both})\ncontext.pop("{dropped}")\n{call("**context")}')),
        "partial": Case(managed(f"send = functools.partial(self._http.call, {other})\nreturn await send(_GET_ITEM, path_params={{'item_id': item_id}})", ("import uuid", "import functools\nimport uuid"))),
        "decorator": Case(
            top(
                "def traced(method):\n    async def inner(self, *args, **kwargs):\n"
                f"        kwargs.pop('{dropped}', None)\n        return await method(self, *args, **kwargs)\n    return inner\n",
                changed((f"    {SIGNATURE}", f"    @traced\n    {SIGNATURE}", 1)),
            )
        ),
        "inherited": Case(
            changed((MANAGED, ('class _Base:\n    async def get_item(self, item_id: str, *, user_jwt: str | None = None, correlation_id: str = "") -> Item:\n'
                     f'        """Get an item."""\n        {call(other)}\n\n\n{MANAGED[:-1]}(_Base):')),
                    (f"    {SIGNATURE}\n{GET}\n", "", 0)),
        ),
        "not taken": Case(CONNECTOR.replace(f'{dropped}: {"str | None = None" if dropped == "user_jwt" else "str = " + chr(34) * 2}, ', "").replace(
            f', {dropped}: {"str | None = None" if dropped == "user_jwt" else "str = " + chr(34) * 2}', "")),
    }  # fmt: skip


FORWARDED = {
    "alias": managed("jwt, cid = user_jwt, correlation_id\n" + call("user_jwt=jwt, correlation_id=cid")),
    "unpacked": managed('context = {"user_jwt": user_jwt, "correlation_id": correlation_id}\n' + call("**context")),
    "dict": managed("context = dict(user_jwt=user_jwt, correlation_id=correlation_id)\n" + call("**context")),
    "updated": managed("context = {}\ncontext['user_jwt'] = user_jwt\ncontext.update(correlation_id=correlation_id)\n" + call("**context")),
    "stripped": managed(call("user_jwt=user_jwt, correlation_id=correlation_id.strip()")),
    "none if blank": managed(call("user_jwt=user_jwt if user_jwt else None, correlation_id=correlation_id or ''")),
    "both branches": managed(
        "if item_id:\n    " + call("user_jwt=user_jwt, correlation_id=correlation_id") + "\n" + call("correlation_id=correlation_id, user_jwt=user_jwt")
    ),
    "nested": managed("async def send():\n    " + call("user_jwt=user_jwt, correlation_id=correlation_id") + "\nreturn await send()"),
    "try": managed("try:\n    " + call("user_jwt=user_jwt, correlation_id=correlation_id") + "\nfinally:\n    pass"),
    "partial": managed(
        "send = functools.partial(self._http.call, user_jwt=user_jwt, correlation_id=correlation_id)\n"
        "return await send(_GET_ITEM, path_params={'item_id': item_id})",
        ("import uuid", "import functools\nimport uuid"),
    ),
    "passing decorator": top(
        "def traced(method):\n    async def inner(self, *args, **kwargs):\n        return await method(self, *args, **kwargs)\n    return inner\n",
        changed((f"    {SIGNATURE}", f"    @traced\n    {SIGNATURE}", 1)),
    ),
}  # fmt: skip

VIOLATIONS = {
    "CC101": {
        "plain class": Case(changed((LINE, "class Line:"))),
        "typed dict": Case(changed((LINE, "class Line(TypedDict):"), ("Any, Protocol", "Any, Protocol, TypedDict"))),
        "named tuple": Case(changed((LINE, "class Line(NamedTuple):"), ("Any, Protocol", "Any, NamedTuple, Protocol"))),
        "call": Case(changed((ITEM, "Item = typing.NamedTuple('Item', [('id', str)])\n"), ("import uuid", "import typing\nimport uuid"))),
        "pydantic": Case(changed((LINE, "class Line(Model):"), ("import uuid", "import uuid\nfrom pydantic import BaseModel as Model"))),
        "second file": Case(
            changed((LINE, "class _Unused:"), ("import uuid", "import uuid\n\nfrom .lines import Line")),
            {"lines.py": "class Line:\n    sku: str\n"},
        ),
        "alias in a result": Case(changed((f'{LINE}\n    """A line."""\n\n    sku: str\n', "class _Line:\n    sku: str\n\n\nLine = _Line\n"))),
        "inherited": Case(changed((LINE, "@dataclass\nclass _Base:\n    qty: int\n\n\nclass Line(_Base):"))),
        "other decorator": Case(changed((LINE, "def dataclass_(kind):\n    return kind\n\n\n@dataclass_\nclass Line:"))),
    },
    "CC102": {
        "class": Case(changed((PROTOCOL, "class OrdersConnector:"))),
        "abc": Case(changed((PROTOCOL, "class OrdersConnector(ABC):"), ("import uuid", "import uuid\nfrom abc import ABC"))),
        "subclass": Case(changed((PROTOCOL, "class _Base(Protocol):\n    pass\n\n\nclass OrdersConnector(_Base):"))),
        "other Protocol": Case(changed(("Any, Protocol", "Any"), ("import uuid", "import uuid\n\nfrom asyncio import Protocol"))),
        "second file": Case(
            changed((PROTOCOL, "class _Old(Protocol):"), ("import uuid", "import uuid\n\nfrom .interface import OrdersConnector")),
            {"interface.py": CONNECTOR.partition("_item = ")[0].replace("(Protocol)", "")},
        ),
        "none": Case(changed((PROTOCOL, "class OrdersService(Protocol):"))),
    },
    "CC103": {
        "star removed": Case(CONNECTOR.replace("item_id: str, *, user_jwt", "item_id: str, user_jwt")),
        "optional": Case(CONNECTOR.replace("self, *, status: str | None = None,", "self, status: str | None = None, *,")),
        "managed alone": Case(changed((SIGNATURE, SIGNATURE.replace("*, ", ""), 1))),
        "mock alone": Case(changed((SIGNATURE, SIGNATURE.replace("*, ", ""), 2))),
        "positional-only": Case(CONNECTOR.replace("item_id: str, *, user_jwt: str | None = None", "item_id: str, user_jwt: str | None = None, /, *")),
        "alias of a function": Case(
            changed((f"    {SIGNATURE}\n{GET}", "    get_item = _get\n")).replace(
                MANAGED, f"{SIGNATURE.replace('*, ', '').replace('get_item', '_get')}\n    \"\"\"Get.\"\"\"\n    {call('user_jwt=user_jwt, correlation_id=correlation_id')}\n\n\n{MANAGED}"
            )
        ),
        "inherited": Case(
            changed((f"    {SIGNATURE}\n{GET}", "")).replace(
                MANAGED,
                f"class _Base:\n    {SIGNATURE.replace('*, ', '')}\n{GET}\n\n{MANAGED[:-1]}(_Base):",
            )
        ),
    },
    "CC104": {
        "annotation": Case(CONNECTOR.replace("-> Item:", "-> dict[str, Any]:")),
        "alias": Case(top("Document = dict[str, Any]", CONNECTOR.replace("-> Item:", "-> Document:"))),
        "none": Case(CONNECTOR.replace(') -> Item:\n        """Get', '):\n        """Get')),
        "quoted": Case(CONNECTOR.replace("-> Item:", '-> "Any":')),
        "in a list": Case(CONNECTOR.replace("-> list[Item]:", "-> list[dict[str, Any]]:")),
        "raw document": Case(managed('return await self._http.get("/api/orders/items/{item_id}", path_params={"item_id": item_id}, user_jwt=user_jwt, correlation_id=correlation_id)')),
        "raw by variable": Case(managed('found = await getattr(self._http, "get")("/api/orders/items/{item_id}", path_params={"item_id": item_id}, user_jwt=user_jwt, correlation_id=correlation_id)\nreturn found["item"]')),
        "raw by cast": Case(managed('found = await self._http.get("/api/orders/items/{item_id}", path_params={"item_id": item_id}, user_jwt=user_jwt, correlation_id=correlation_id)\nreturn cast(Item, found)', ("Any, Protocol", "Any, Protocol, cast"))),
        "literal": Case(managed(f"found = await {CALL}\nreturn {{'id': found.id}}")),
        "literal on a path": Case(mock("if item_id:\n    return {'id': item_id}\nreturn Item(id='x')")),
        "literal of the mock": Case(mock("return {'id': item_id}")),
        "decoder": Case(changed(('"get_item", _item)', '"get_item", lambda document: document)'))),
        "decoder by name": Case(top("def _same(document: Any) -> Any:\n    return document", changed(('"get_item", _item)', '"get_item", _same)')))),
        "dict as decoder": Case(changed(('"get_item", _item)', '"get_item", dict)'))),
    },
    "CC105": {
        "parameter": Case(CONNECTOR.replace("status: str | None = None", "status: str = None")),
        "field": Case(changed(("    note: str | None = None\n\n\nclass", "    note: str = None\n\n\nclass"))),
        "field()": Case(changed(("    note: str | None = None\n\n\nclass", "    note: str = field(default=None)\n\n\nclass"))),
        "attribute": Case(changed(('params={"status": status}', 'params={"status": status.lower()}'))),
        "item": Case(changed(('params={"status": status}', 'params={"status": status[:3]}'))),
        "field of a request": Case(changed(("        body, problem = body_of(request, ItemCreate)\n", "        body, problem = body_of(request, ItemCreate)\n        body['note'] = request.note.strip()\n"))),
        "alias": Case(changed(("        body, problem = body_of(request, ItemCreate)\n", "        body, problem = body_of(request, ItemCreate)\n        note = request.note\n        body['note'] = note.strip()\n"))),
        "null": Case(changed(("json_body=body", 'json_body={"name": request.name, "note": request.note}'))),
        "mock": Case(changed(('note=any_field(request, "note", str)', "note=request.note.upper()"))),
    },
    "CC106": forwarding("correlation_id", "user_jwt"),
    "CC301": forwarding("user_jwt", "correlation_id"),
    "CC107": {
        "managed": Case(changed((GET, GET.replace('        """Get an item."""\n', "")))),
        "mock": Case(changed((MOCK_GET, MOCK_GET.replace('        """Get an item."""\n', "")))),
        "all": Case(CONNECTOR.replace('        """Get an item."""\n', "")),
        "blank": Case(changed((GET, GET.replace("Get an item.", " ")))),
        "dots": Case(changed((GET, GET.replace("Get an item.", "...")))),
        "todo": Case(changed((GET, GET.replace("Get an item.", "TODO")))),
        "f-string": Case(changed((GET, GET.replace('"""Get an item."""', 'f"""Get {item_id}."""')))),
        "comment": Case(changed((GET, GET.replace('"""Get an item."""', "# Get an item.")))),
        "late": Case(changed((GET, GET.replace('        """', '        pass\n        """')))),
    },
    "CC201": {
        "raise": Case(mock("raise KeyError(item_id)")),
        "another error caught": Case(mock("try:\n    return self._items[item_id]\nexcept TypeError:\n    return Item(id='x')")),
        "raised again": Case(mock("try:\n    return self._items[item_id]\nexcept KeyError:\n    raise")),
        "half of what a conversion raises": Case(mock("try:\n    number = int(item_id)\nexcept ValueError:\n    number = 0\nreturn Item(id=str(number))")),
        "deleted key": Case(mock("del self._items[item_id]\nreturn Item(id='x')")),
        "not implemented": Case(mock("raise NotImplementedError")),
        "on a path": Case(mock("if not item_id:\n    raise ValueError\nreturn Item(id='x')")),
        "helper": Case(top("def _fail(text: str) -> None:\n    raise ValueError(text)", mock("_fail(item_id)\nreturn Item(id='x')"))),
        "method": Case(mock("return self._found(item_id)").replace(MOCK, MOCK) + "\n    def _found(self, key: str) -> Item:\n        raise KeyError(key)\n"),
        "getattr": Case(mock("return getattr(self, '_found')(item_id)") + "\n    def _found(self, key: str) -> Item:\n        raise KeyError(key)\n"),
        "inherited": Case(
            changed((f"    {SIGNATURE}\n{MOCK_GET}", "")).replace(MOCK, f'class _Base:\n    {SIGNATURE}\n        """Get an item."""\n        raise KeyError(item_id)\n\n\n{MOCK[:-1]}(_Base):')
        ),
        "second file": Case(
            mock("return found(item_id)", ("import uuid", "import uuid\n\nfrom .finding import found")),
            {"finding.py": "def found(key):\n    raise KeyError(key)\n"},
        ),
        "decorator": Case(
            top("def guarded(method):\n    async def inner(self, *args, **kwargs):\n        raise RuntimeError\n        await method(self, *args, **kwargs)\n    return inner\n",
                changed((f"    {SIGNATURE}", f"    @guarded\n    {SIGNATURE}", 2)))
        ),
        "alias": Case(mock("fail = self._found\nreturn fail(item_id)") + "\n    def _found(self, key: str) -> Item:\n        raise KeyError(key)\n"),
        "assert": Case(mock("assert item_id\nreturn Item(id='x')")),
        "key": Case(mock("return self._items[item_id]")),
        "pop": Case(mock("return self._items.pop(item_id)")),
        "number": Case(mock("return Item(id=str(int(item_id)))")),
        "again": Case(mock("try:\n    return Item(id='x')\nexcept Exception:\n    raise")),
    },
    "CC202": {
        "path": Case(changed(('"/api/orders/items/{item_id}", "get_item"', '"https://orders.example.com/api/orders/items/{item_id}", "get_item"'))),
        "constant": Case(top('_HOST = "https://orders.example.com"')),
        "f-string": Case(managed(f'host = "orders"\nurl = f"https://{{host}}/api"\nreturn await {CALL}')),
        "joined": Case(managed(f'url = "https://" + item_id\nreturn await {CALL}')),
        "default": Case(top('def _url(host: str = "http://localhost:8080") -> str:\n    return host')),
        "bytes": Case(top('_HOST = b"https://orders.example.com"')),
        "library": Case(changed(("import uuid", "import uuid\n\nimport httpx"))),
        "library in a function": Case(managed(f"from urllib.request import urlopen as opened\nreturn await {CALL}")),
        "library by name": Case(managed(f'lib = __import__("requests")\nreturn await {CALL}')),
        "own client": Case(managed(f"http = PlatformHttpClient(self._http.base_url)\nreturn await {CALL}")),
        "two slashes": Case(changed(('"/api/orders/items/{item_id}", "get_item"', '"//orders.example.com/items/{item_id}", "get_item"'))),
        "second file": Case(
            changed(("import uuid", "import uuid\n\nfrom .hosts import HOST")), {"hosts.py": 'HOST = "https://orders.example.com"\n'}
        ),
    },
    "CC203": {
        "attribute": Case(managed(f"self._last = item_id\nreturn await {CALL}")),
        "alias": Case(managed(f"me = self\nme._last = item_id\nreturn await {CALL}")),
        "setattr": Case(managed(f"setattr(self, '_last', item_id)\nreturn await {CALL}")),
        "__dict__": Case(managed(f"self.__dict__['_last'] = item_id\nreturn await {CALL}")),
        "cache": Case(managed(f"found = self._cache[item_id] = await {CALL}\nreturn found", ("        self._http = http\n", "        self._http = http\n        self._cache = {}\n"))),
        "append": Case(managed(f"self._seen.append(item_id)\nreturn await {CALL}", ("        self._http = http\n", "        self._http = http\n        self._seen = []\n"))),
        "global": Case(top("_SEEN: dict = {}", managed(f"_SEEN[item_id] = 1\nreturn await {CALL}"))),
        "global name": Case(top("_last = ''", managed(f"global _last\n_last = item_id\nreturn await {CALL}"))),
        "class": Case(changed(('    """Calls Orders.API."""\n', '    """Calls Orders.API."""\n\n    _seen = []\n'))),
        "class attribute": Case(managed(f"ManagedOrdersConnector.last = item_id\nreturn await {CALL}")),
        "helper": Case(top("def _remember(target: Any, value: str) -> None:\n    target.last = value", managed(f"_remember(self, item_id)\nreturn await {CALL}"))),
        "second file": Case(
            managed(f"remember(self, item_id)\nreturn await {CALL}", ("import uuid", "import uuid\n\nfrom .memory import remember")),
            {"memory.py": "def remember(target, value):\n    target.last = value\n"},
        ),
        "inherited": Case(changed((MANAGED, f"class _Base:\n    def _note(self, value: str) -> None:\n        self._last = value\n\n\n{MANAGED[:-1]}(_Base):"), (GET, GET.replace("        return", "        self._note(item_id)\n        return")))),
        "decorator": Case(changed((f"    {SIGNATURE}", f"    @functools.cache\n    {SIGNATURE}", 1), ("import uuid", "import functools\nimport uuid"))),
        "increment": Case(managed(f"self._count += 1\nreturn await {CALL}")),
        "default": Case(top("def _x() -> None:\n    pass", changed(("self, http: PlatformHttpClient)", "self, http: PlatformHttpClient, seen: list = [])")))),
    },
    "CC204": {
        "environ": Case(managed(f'region = os.environ["REGION"]\nreturn await {CALL}')),
        "getenv": Case(managed(f'region = os.getenv("REGION")\nreturn await {CALL}')),
        "alias": Case(changed(("import os.path", "import os as system"), (GET, GET.replace("        return", '        region = system.environ.get("REGION")\n        return')))),
        "from": Case(changed(("import os.path", "from os import environ as settings"))),
        "getattr": Case(managed(f'region = getattr(os, "environ")["REGION"]\nreturn await {CALL}')),
        "import": Case(managed(f'region = __import__("os").environ["REGION"]\nreturn await {CALL}')),
        "importlib": Case(managed(f'import importlib\nregion = importlib.import_module("os").environ["REGION"]\nreturn await {CALL}')),
        "vars": Case(managed(f'region = vars(os)["environ"]\nreturn await {CALL}')),
        "variable": Case(managed(f'system = os\nregion = system.environ["REGION"]\nreturn await {CALL}')),
        "second file": Case(
            changed(("import uuid", "import uuid\n\nfrom .regions import region")), {"regions.py": "import os\n\n\ndef region():\n    return os.environ['REGION']\n"}
        ),
        "top level": Case(top('_REGION = os.environ.get("REGION")')),
        "mock": Case(mock('return Item(id=os.getenv("REGION", ""))')),
        "expandvars": Case(managed(f'region = os.path.expandvars("$REGION")\nreturn await {CALL}')),
    },
    "CC302": {
        "missing in the mock": Case(changed((f"    {SIGNATURE}\n{MOCK_GET}", ""))),
        "missing in the managed class": Case(changed((f"    {SIGNATURE}\n{GET}", ""))),
        "missing in the Protocol": Case(changed((f'    {SIGNATURE}\n        """Get an item."""\n        ...\n', ""))),
        "extra": Case(CONNECTOR + '\n    async def reset(self, *, user_jwt: str | None = None, correlation_id: str = "") -> bool:\n        """Reset."""\n        return True\n'),
        "renamed": Case(changed(("def get_item", "def fetch_item", 2))),
        "no mock": Case(CONNECTOR.partition(MOCK)[0], registry=""),
        "deleted by alias": Case(changed(("async def get_item", "async def _get_item", 2))),
        "extra inherited": Case(changed((MANAGED, f'class _Base:\n    async def ping(self, *, user_jwt: str | None = None, correlation_id: str = "") -> bool:\n        """Ping."""\n        return True\n\n\n{MANAGED[:-1]}(_Base):'))),
    },
    "CC303": {
        "default": Case(changed(("status: str | None = None", 'status: str | None = "new"', 2))),
        "name": Case(changed(("name: str, *", "title: str, *", 2))),
        "annotation": Case(changed(("item_id: str", "item_id: int", 6))),
        "result": Case(changed((SIGNATURE, SIGNATURE.replace("-> Item", "-> Line"), 2))),
        "order": Case(changed(("item_id: str, name: str", "name: str, item_id: str", 2))),
        "not async": Case(changed((SIGNATURE, SIGNATURE.replace("async ", ""), 2))),
        "kwargs": Case(changed((SIGNATURE, SIGNATURE.replace("*, ", "").replace('correlation_id: str = ""', "**kwargs: Any"), 2))),
        "inherited": Case(
            changed((f"    {SIGNATURE}\n{MOCK_GET}", "")).replace(MOCK, f"class _Base:\n    {SIGNATURE.replace('item_id', 'key')}\n        \"\"\"Get an item.\"\"\"\n        return Item(id='x')\n\n\n{MOCK[:-1]}(_Base):")
        ),
    },
    "CC304": {
        "not listed": Case(changed(("- GET, PUT, DELETE /api", "- GET, PUT /api"))),
        "not called": Case(changed(("- GET, POST", "- GET, POST, PATCH"))),
        "other path": Case(changed(("/api/orders/items/{item_id}\n", "/api/orders/item/{item_id}\n"))),
        "other method": Case(changed(('Endpoint("PUT"', 'Endpoint("PATCH"'))),
        "constant": Case(top('_VERB = "PATCH"', changed(('Endpoint("PUT"', "Endpoint(_VERB")))),
        "no list": Case(changed(("Endpoints:", "It calls:"))),
        "no docstring": Case("_ = 0\n" + CONNECTOR),
        "open list": Case(changed(('items/{item_id}\n"""', 'items/{item_id}\n- ...\n"""'))),
        "helper": Case(managed(f'await self._http.post("/api/orders/audit", user_jwt=user_jwt, correlation_id=correlation_id)\nreturn await {CALL}')),
        "placeholder for a word": Case(changed(('"/api/orders/items", "list_items"', '"/api/orders/{kind}", "list_items"'))),
    },
    "CC305": {
        "not registered": Case(CONNECTOR, registry="CONNECTORS = ()\n"),
        "imported alone": Case(CONNECTOR, registry="from .orders import ManagedOrdersConnector, MockOrdersConnector\n"),
        "managed alone": Case(CONNECTOR, registry=REGISTRY.replace(", MockOrdersConnector)", ", None)")),
        "named in a text": Case(CONNECTOR, registry='"""ManagedOrdersConnector, MockOrdersConnector"""\n'),
        "another one": Case(CONNECTOR, registry=REGISTRY.replace("ManagedOrdersConnector", "ManagedOtherConnector")),
        "in __all__": Case(CONNECTOR, registry='__all__ = ["ManagedOrdersConnector", "MockOrdersConnector"]\n'),
    },
    "CC306": {
        "params": Case(changed(('            params={"status": status},\n', ""))),
        "body": Case(changed(('            json_body={"name": name},\n', ""))),
        "body of a request": Case(managed(f"return await {CALL}").replace("_CREATE_ITEM, problem=problem, json_body=body,", "_CREATE_ITEM,")),
        "constant": Case(changed(('params={"status": status}', 'params={"status": "new"}'))),
        "overwritten": Case(changed(('params={"status": status}', 'params={"status": None}'), ("problem=wrong_type(str | None, status=status),\n", ""))),
        "helper": Case(
            changed(('            json_body={"name": name},\n', "            json_body=self._body(name),\n"), (MOCK, f"    def _body(self, name: str) -> dict[str, Any]:\n        return {{}}\n\n\n{MOCK}"), ("            problem=wrong_type(str, name=name),\n", ""))
        ),
    },
    "CC307": {
        "renamed": Case(changed(("user_jwt=user_jwt", "jwt=user_jwt"))),
        "positional": Case(managed(call("user_jwt=user_jwt, correlation_id=correlation_id").replace("path_params=", ""))),
        "misspelled": Case(changed(("json_body=body", "json=body"))),
        "twice": Case(changed(("            _LIST_ITEMS,\n", "            _LIST_ITEMS,\n            0,\n            skip=0,\n"))),
        "unpacked": Case(managed('context = {"token": user_jwt, "user_jwt": user_jwt, "correlation_id": correlation_id}\n' + call("**context"))),
        "alias": Case(managed("send = self._http.call\n" + call("user_jwt=user_jwt, correlation_id=correlation_id, timeout=3", "send"))),
        "declared": Case(managed(call("user_jwt=user_jwt, correlation_id=correlation_id, operation='x'"))),
    },
    "CC308": {
        "dropped": Case(changed(('path_params={"item_id": item_id}, ', ""))),
        "other name": Case(changed(('path_params={"item_id": item_id}', 'path_params={"id": item_id}'))),
        "extra": Case(changed(('path_params={"item_id": item_id}', 'path_params={"item_id": item_id, "x": item_id}'))),
        "variable": Case(managed('values = {"id": item_id}\n' + call("user_jwt=user_jwt, correlation_id=correlation_id").replace('{"item_id": item_id}', "values"))),
        "dict()": Case(changed(('path_params={"item_id": item_id}', "path_params=dict(id=item_id)"))),
        "template": Case(changed(('"/api/orders/items/{item_id}", "get_item"', '"/api/orders/items/{id}", "get_item"'))),
    },
    "CC309": {
        "operation": Case(changed(('"get_item", _item', '"fetch_item", _item'))),
        "other endpoint": Case(managed(call("user_jwt=user_jwt, correlation_id=correlation_id").replace("_GET_ITEM", "_UPDATE_ITEM"))),
        "constant": Case(top('_NAME = "fetch"', changed(('"get_item", _item', "_NAME, _item")))),
        "keyword": Case(changed(('"get_item", _item', 'operation="fetch", decode=_item'))),
        "alias": Case(top("_ALIAS = _UPDATE_ITEM", managed(call("user_jwt=user_jwt, correlation_id=correlation_id").replace("_GET_ITEM", "_ALIAS")))),
    },
    "CC401": {
        "f-string": 'f"/api/orders/items/{item_id}"',
        "joined": '"/api/orders/items/" + item_id',
        "percent": '"/api/orders/items/%s" % item_id',
        "format": '"/api/orders/items/{}".format(item_id)',
        "join": '"/".join(("/api/orders/items", item_id))',
        "quoted": 'f"/api/orders/items/{quote(item_id)}"',
        "helper": "self._path(item_id)",
    },
    "CC402": {
        "decoder": Case(top("def _made(document: Any) -> Item:\n    return Item(**document)")),
        "alias": Case(top("_make = Item\n\n\ndef _made(document: Any) -> Item:\n    return _make(**document)")),
        "lambda": Case(changed(('"get_item", _item)', '"get_item", lambda document: Item(**document))'))),
        "list": Case(top("def _made(document: Any) -> list[Item]:\n    return [Item(**one) for one in document]")),
        "values": Case(top("def _made(document: Any) -> Item:\n    return Item(*document.values())")),
        "partial": Case(top("def _made(document: Any) -> Any:\n    return functools.partial(Item, **document)", changed(("import uuid", "import functools\nimport uuid")))),
        "second file": Case(
            changed(("import uuid", "import uuid\n\nfrom .making import made")),
            {"making.py": "from dataclasses import dataclass\n\n\n@dataclass\nclass Thing:\n    id: str\n\n\ndef made(document):\n    return Thing(**document)\n"},
        ),
    },
    "CC403": {
        "utcnow": Case(changed(("datetime.now(UTC)", "datetime.utcnow()"))),
        "now": Case(changed(("datetime.now(UTC)", "datetime.now()"))),
        "none": Case(changed(("datetime.now(UTC)", "datetime.now(tz=None)"))),
        "module": Case(changed(("datetime.now(UTC)", "dt.datetime.now()"), ("import uuid", "import datetime as dt\nimport uuid"))),
        "alias": Case(changed(("datetime.now(UTC)", "Clock.now()"), ("import UTC, datetime", "import UTC, datetime as Clock"))),
        "timestamp": Case(changed(("datetime.now(UTC)", "datetime.fromtimestamp(0)"))),
        "literal": Case(changed(("datetime.now(UTC)", "datetime(2025, 1, 1)"))),
        "getattr": Case(changed(("datetime.now(UTC)", 'getattr(datetime, "utcnow")()'))),
        "today": Case(changed(("datetime.now(UTC)", "datetime.today()"))),
    },
    "CC404": {
        "get": Case(top('def _done(document: Any) -> bool:\n    return document.get("success", False)')),
        "no default": Case(top('def _done(document: Any) -> bool:\n    return bool(document.get("success"))')),
        "item": Case(top('def _done(document: Any) -> bool:\n    return document["success"]')),
        "constant": Case(top('_KEY = "success"\n\n\ndef _done(document: Any) -> bool:\n    return document.get(_KEY, False)')),
        "pop": Case(top('def _done(document: Any) -> bool:\n    return document.pop("success", None)')),
        "itemgetter": Case(top('_done = itemgetter("success")', changed(("import uuid", "import uuid\nfrom operator import itemgetter")))),
        "match": Case(top('def _done(document: Any) -> bool:\n    match document:\n        case {"success": True}:\n            return True\n    return False')),
        "second file": Case(
            changed(("import uuid", "import uuid\n\nfrom .reports import done")), {"reports.py": "def done(document):\n    return document.get('success', False)\n"}
        ),
    },
    "CC405": {
        "parameter": Case(changed(("            problem=wrong_type(str, name=name),\n", ""))),
        "optional": Case(changed(("            problem=wrong_type(str | None, status=status),\n", ""))),
        "request": Case(changed(("problem=problem, json_body", "json_body"))),
        "fields": Case(changed(("        body, problem = body_of(request, ItemCreate)\n", "        body = {'name': request.name}\n"), ("problem=problem, json_body", "json_body"))),
        "other argument": Case(changed(("problem=wrong_type(str, name=name)", "problem=wrong_type(str, item_id=item_id)"))),
        "forgotten result": Case(changed(("        body, problem = body_of(request, ItemCreate)\n", "        body, _ = body_of(request, ItemCreate)\n        problem = ''\n"))),
    },
}  # fmt: skip
VIOLATIONS["CC401"] = {
    name: Case(
        managed(
            f"return await self._http.get({path}, decode=_item, user_jwt=user_jwt, correlation_id=correlation_id)",
            (MOCK, f'    def _path(self, key: str) -> str:\n        return "/api/orders/items/" + key\n\n\n{MOCK}'),
        )
    )
    for name, path in VIOLATIONS["CC401"].items()
}  # fmt: skip
VIOLATIONS["CC901"] = {
    name: Case(managed(f"self._last = item_id  # contract: {text}\nreturn await {CALL}"))
    for name, text in {
        "no reason": "ignore[CC203]",
        "one word": "ignore[CC203] needed",
        "no rule": "ignore the state here",
        "unknown rule": "ignore[CC999] it is fine here",
        "blank": "ignore[] it is fine here",
    }.items()
}
VIOLATIONS["CC902"] = {
    name: Case(changed((old, f"{old}  # contract: ignore[{rule}] it was needed once")))
    for name, old, rule in [
        ("import", "import uuid", "CC204"),
        ("class", MANAGED, "CC203"),
        ("other rule", "self._http = http", "CC203"),
        ("constant", "_item = decoder(Item)", "CC402"),
        ("mock", MOCK, "CC201"),
    ]
}
VIOLATIONS["CC900"] = {
    "syntax": Case("def"),
    "null": Case("x = 0\0"),
    "indentation": Case("if 1:\nx = 0\n"),
    "later file": Case(CONNECTOR, {"other.py": "class"}),
    "unclosed": Case("x = (\n"),
}

LOOKALIKES = {
    "CC101": {
        "call": changed((LINE, "@dataclass(frozen=True, slots=True)\nclass Line:")),
        "alias": changed(("import dataclass, field", "import dataclass as model, field, dataclass"), (LINE, "@model\nclass Line:")),
        "variable": changed((LINE, "model = dataclass(frozen=True)\n\n\n@model\nclass Line:")),
        "enumeration": changed((f'{LINE}\n    """A line."""\n\n    sku: str', 'class Line(StrEnum):\n    """A line."""\n\n    A = "a"'), ("import uuid", "import uuid\nfrom enum import StrEnum")),
        "not a model": top("class _Cursor:\n    at: int"),
        "same fields": changed((LINE, "@dataclass\nclass _Base:\n    qty: int\n\n\n@dataclass\nclass Line(_Base):")),
    },
    "CC102": {
        "alias": changed((PROTOCOL, "class OrdersConnector(t.Protocol):"), ("import uuid", "import typing as t\nimport uuid")),
        "extended": changed((PROTOCOL, "class _Base(Protocol):\n    pass\n\n\nclass OrdersConnector(_Base, Protocol):")),
        "renamed": changed((PROTOCOL, "class OrdersConnector(Interface):"), ("import uuid", "import uuid\nfrom typing_extensions import Protocol as Interface")),
    },
    "CC103": {"required": CONNECTOR.replace("item_id: str, name: str, *,", "item_id: str, *, name: str,")},
    "CC104": {
        "typed dict": CONNECTOR.replace("-> bool:", "-> dict[str, bool]:"),
        "none": CONNECTOR.replace("-> bool:", "-> None:"),
        "decoded": managed('return await self._http.get("/api/orders/items/{item_id}", decode=_item, path_params={"item_id": item_id}, user_jwt=user_jwt, correlation_id=correlation_id)'),
        "wrapped": managed(f"found = await {CALL}\nreturn Item(id=found.id)"),
    },
    "CC105": {
        "tested": changed(('params={"status": status}', 'params={"status": status.lower() if status else None}')),
        "and": changed(('params={"status": status}', 'params={"status": status and status.lower()}')),
        "guard": managed(f"return await {CALL}").replace('        """List the items."""\n        return await', '        """List the items."""\n        if status is not None:\n            status = status.lower()\n        return await'),
        "in params": CONNECTOR,
    },
    "CC106": FORWARDED,
    "CC107": {"private": CONNECTOR + "\n    def _x(self) -> None:\n        pass\n", "one line": changed((GET, GET.replace('"""Get an item."""', "'Get an item.'")))},
    "CC201": {
        "caught": mock("try:\n    raise KeyError\nexcept Exception:\n    return Item(id='x')"),
        "missing key caught": mock("try:\n    return self._items[item_id]\nexcept (KeyError, TypeError):\n    return Item(id='x')"),
        "lookup caught": mock("try:\n    return self._items.pop(item_id)\nexcept LookupError:\n    return Item(id='x')"),
        "own error caught": mock("try:\n    raise KeyError(item_id)\nexcept KeyError:\n    return Item(id='x')"),
        "missing key suppressed": mock("with contextlib.suppress(KeyError):\n    del self._items[item_id]\nreturn Item(id='x')", ("import uuid", "import contextlib\nimport uuid")),
        "tested and deleted key": mock("if item_id in self._items:\n    del self._items[item_id]\nreturn Item(id='x')"),
        "tested key": mock("if item_id in self._items:\n    return self._items[item_id]\nreturn Item(id='x')"),
        "default": mock("return self._items.pop(item_id, None) or Item(id='x')"),
        "unused helper": top("def _fail() -> None:\n    raise ValueError"),
        "store": mock("self._items[any_key(item_id)] = Item(id='x')\nreturn Item(id='x')"),
        "managed": managed(f"if not item_id:\n    raise ValueError\nreturn await {CALL}"),
        "suppressed": mock("with contextlib.suppress(Exception):\n    raise KeyError\nreturn Item(id='x')", ("import uuid", "import contextlib\nimport uuid")),
    },
    "CC202": {
        "docstring": changed((GET, GET.replace("Get an item.", "https://orders.example.com/docs: get an item."))),
        "for annotations": changed(("import uuid", "import typing\nimport uuid\n\nif typing.TYPE_CHECKING:\n    import httpx")),
        "comment": changed(("import uuid", "import uuid  # https://orders.example.com")),
        "data of a mock": mock('return Item(id="https://orders.example.com/items/1")'),
        "comparison": managed(f'if item_id.startswith("https://orders.example.com"):\n    item_id = "x"\nreturn await {CALL}'),
        "parsing": changed(("import uuid", "import uuid\nfrom urllib.parse import quote")),
        "scheme alone": top('_SCHEME = "https://"'),
        "path": top('_PATH = "/api/https/items"'),
    },
    "CC203": {
        "local": managed(f"seen = []\nseen.append(item_id)\ncache = {{}}\ncache[item_id] = 1\nreturn await {CALL}"),
        "__init__": changed(("        self._http = http\n", "        self._http = http\n        self._prefix = 'x'\n")),
        "result": managed(f"found = await {CALL}\nfound.note = 'x'\nreturn found"),
        "constant": top('_NAMES = {"a": "b"}', managed(f"name = _NAMES.get(item_id)\nreturn await {CALL}")),
        "mock": mock("self._items.clear()\nreturn Item(id='x')"),
        "local setattr": managed(f"found = await {CALL}\nsetattr(found, 'note', 'x')\nreturn found"),
    },
    "CC204": {
        "path": top('_NAME = os.path.join("a", "b")'),
        "own environ": top("class _Settings:\n    environ = {}\n\n\n_X = _Settings().environ"),
        "text": top('_TEXT = "os.environ"'),
        "getpid": managed(f"pid = os.getpid()\nreturn await {CALL}"),
        "name": top("def getenv(name: str) -> str:\n    return name\n\n\n_X = getenv('a')"),
    },
    "CC302": {
        "private": CONNECTOR + "\n    async def _reset(self) -> None:\n        pass\n",
        "inherited": changed((f"    {SIGNATURE}\n{MOCK_GET}", "")).replace(MOCK, f"class _Base:\n    {SIGNATURE}\n        \"\"\"Get an item.\"\"\"\n        return Item(id='x')\n\n\n{MOCK[:-1]}(_Base):"),
    },
    "CC303": {
        "spelling": changed((SIGNATURE, SIGNATURE.replace("str | None", "Optional[str]"), 2), ("Any, Protocol", "Any, Optional, Protocol")),
        "quoted": changed((SIGNATURE, SIGNATURE.replace("-> Item", "-> 'Item'"), 2)),
        "order of keywords": changed((SIGNATURE, SIGNATURE.replace('user_jwt: str | None = None, correlation_id: str = ""', 'correlation_id: str = "", user_jwt: str | None = None'), 2)),
    },
    "CC304": {
        "lines": changed(("- GET, POST /api/orders/items\n", "- GET /api/orders/items\n- POST /api/orders/items\n")),
        "name of the placeholder": changed(('items/{item_id}\n"""', 'items/{id}\n"""')),
        "description": changed(('items/{item_id}\n"""', 'items/{item_id} - one item\n"""')),
        "continued": changed(("- GET, POST /api/orders/items\n- GET, PUT, DELETE /api/orders/items/{item_id}\n", "- GET, POST /api/orders/items; GET, PUT, DELETE …/{item_id}\n")),
    },
    "CC306": {"alias": changed(('json_body={"name": name}', 'json_body={"name": name.strip()}')), "variable": changed(("json_body=body", "json_body={**body}"))},
    "CC307": {"page": changed(("_LIST_ITEMS,\n", "_LIST_ITEMS,\n            0,\n            50,\n"))},
    "CC308": {"dict()": changed(('path_params={"item_id": item_id}', "path_params=dict(item_id=item_id)"))},
    "CC309": {"through another": managed("return await self.update_item(item_id, '', user_jwt=user_jwt, correlation_id=correlation_id)", ("- GET, PUT, DELETE", "- PUT, DELETE"))},
    "CC401": {
        "constant parts": top('_ROOT = "/api/orders"', changed(('Endpoint("GET", "/api/orders/items",', 'Endpoint("GET", _ROOT + "/items",'))),
        "query": managed(f"text = f'{{item_id}}'\nreturn await {CALL}"),
    },
    "CC402": {
        "keywords": top("def _made(document: Any) -> Item:\n    return Item(id=document['id'])"),
        "mock": mock("return Item(**{'id': 'x'})"),
        "other function": top("def _made(document: Any) -> Any:\n    return dict(**document)"),
    },
    "CC403": {
        "tz": changed(("datetime.now(UTC)", "datetime.now(tz=UTC)")),
        "date": changed(("datetime.now(UTC)", "date.today()"), ("import UTC, datetime", "import UTC, date, datetime")),
        "literal": changed(("datetime.now(UTC)", "datetime(2025, 1, 1, tzinfo=UTC)")),
        "other": changed(("datetime.now(UTC)", "self.clock.now()")),
        "timestamp": changed(("datetime.now(UTC)", "datetime.fromtimestamp(0, UTC)")),
    },
    "CC404": {
        "default": top('def _done(document: Any) -> bool:\n    return document.get("success", True)'),
        "store": top("def _done(document: Any) -> Any:\n    document['success'] = True\n    return document"),
        "other key": top("def _done(document: Any) -> Any:\n    return document.get('status', False)"),
    },
    "CC405": {
        "or": changed(("wrong_type(str, name=name)", "wrong_type(str, name=name) or wrong_type(str, item_id=item_id)")),
        "helper": top("def _problem(name: Any) -> str:\n    return wrong_type(str, name=name) or ('' if name else 'name: empty')", changed(("wrong_type(str, name=name)", "_problem(name)"))),
        "variable": changed(("        return await self._http.call(\n            _UPDATE_ITEM", "        wrong = wrong_type(str, name=name)\n        return await self._http.call(\n            _UPDATE_ITEM"), ("problem=wrong_type(str, name=name)", "problem=wrong")),
    },
    "CC901": {
        "reason": managed(f"self._last = item_id  # contract: ignore[CC203] read by the support team's tool\nreturn await {CALL}"),
        "line above": managed(f"# contract: ignore[CC203]: read by the support team's tool\nself._last = item_id\nreturn await {CALL}"),
        "prose": changed(("import uuid", "import uuid  # by the contract: a uuid")),
        "in a text": top('_TEXT = "# contract: ignore[CC203]"'),
    },
}  # fmt: skip


def cases(table):
    return [
        pytest.param(rule, case, id=f"{rule}-{name}") for rule, rows in table.items() for name, case in rows.items()
    ]


def test_the_sample_keeps_every_rule(tmp_path):
    """The changes below start from a connector without findings."""
    assert check(tmp_path) == []


@pytest.mark.parametrize(("rule", "case"), cases(VIOLATIONS))
def test_a_violation_is_found_in_each_disguise(rule, case, tmp_path):
    """An alias, a helper, inheritance, a decorator, another file or `getattr` hides no violation."""
    assert rule in {one.rule for one in check(tmp_path, case.connector, case.files, registry=case.registry)}


@pytest.mark.parametrize(("rule", "connector"), cases(LOOKALIKES))
def test_a_close_look_alike_is_no_violation(rule, connector, tmp_path):
    """What only looks like a violation is not reported; CC301 has the look-alikes of CC106."""
    ast.parse(connector)
    ignored = {"CC301"} - {rule} if rule != "CC106" else set()
    assert rule not in {one.rule for one in check(tmp_path, connector)} - ignored
    if rule == "CC106":
        assert "CC301" not in {one.rule for one in check(tmp_path, connector)}


def test_every_rule_has_five_disguises():
    """A rule that is added without them fails here."""
    assert {rule: len(rows) for rule, rows in VIOLATIONS.items() if len(rows) < 5} == {}
    assert set(VIOLATIONS) == set(RULES)
