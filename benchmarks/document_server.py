"""
A service that implements an OpenAPI document, read from its JSON by hand and apart from `runtime.openapi`.

It routes as ASP.NET does, checks what it is sent against the document, and responds by it. What it reads nothing of is
recorded: such a value is lost in silence.
"""

import base64
import dataclasses
import json
import math
import re
from datetime import date, datetime, time
from urllib.parse import parse_qsl, unquote
from uuid import UUID

from runtime.testing import Reply

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "query")
BOUNDS = {
    **{f"int{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": (0, 2**bits - 1) for bits in (8, 16, 32, 64)},
}
OF_THE_CLIENT = {"accept", "accept-encoding", "authorization", "connection", "content-length", "content-type", "host"}
OF_THE_CLIENT |= {"traceparent", "tracestate", "user-agent", "x-attempt", "x-correlation-id"}
SPAN = re.compile(r"-?(\d+\.)?\d{2}:\d{2}:\d{2}(\.\d{1,7})?")
DEEPEST = 6
MODES = ("whole", "bare", "inner", "null", "least", "most")
"""What is in a sample: everything, what is required, everything with what is required of each; and extreme values."""

PICKS = 8
"""How many values of an enum, and variants, are tried."""
TEXTS = {
    "date-time": "2026-03-04T05:06:07.1234567+00:00",
    "date": "2026-03-04",
    "time": "05:06:07",
    "duration": "01:02:03",
    "time-span": "01:02:03",
    "date-span": "01:02:03",
    "uuid": "0b1e6f9c-3a52-4d43-9a3e-2f0c6f6f1a11",
    "guid": "0b1e6f9c-3a52-4d43-9a3e-2f0c6f6f1a11",
    "byte": "dGV4dA==",
    "email": "ada@example.org",
    "uri": "https://example.org/a",
}
CANDIDATES = ("a text", "ABC-123", "AB12", "12345", "a", "00:00:01")


@dataclasses.dataclass
class Operation:
    """One operation as the document has it, references to parameters and so on followed."""

    method: str
    path: str
    parameters: list
    body: dict | None
    body_required: bool
    responses: dict
    security: list
    route: re.Pattern = dataclasses.field(init=False)

    def __post_init__(self):
        names = re.findall(r"\{([^}]*)\}", self.path)
        parts = re.split(r"\{[^}]*\}", self.path.rstrip("/"))
        self.names = names
        self.route = re.compile("([^/]+)".join(map(re.escape, parts)) + "/?", re.IGNORECASE)


class DocumentServer:
    """The service of one document."""

    def __init__(self, root):
        self.root = root
        self.is_2 = "swagger" in root
        self.operations = list(self._operations())
        self._replies = {}

    # --- reading ----------------------------------------------------------------------------------------------------

    def follow(self, raw):
        """What *raw* refers to; what is said next to the reference is added."""
        while isinstance(raw, dict) and "$ref" in raw:
            found = self.root
            for part in raw["$ref"].removeprefix("#/").split("/"):
                found = found[unquote(part).replace("~1", "/").replace("~0", "~")]
            raw = {**found, **{key: value for key, value in raw.items() if key != "$ref"}}
        return raw

    def _operations(self):
        base = self.root.get("basePath", "") if self.is_2 else (self.root.get("servers") or [{}])[0].get("url", "")
        base = re.sub(r"^[a-z]+://[^/]*", "", base).rstrip("/")
        for path, item in self.root["paths"].items():
            for method in METHODS:
                if method in item:
                    yield self._operation(method, base + path, item[method], item.get("parameters", []))

    def _operation(self, method, path, raw, shared):
        parameters = [self.follow(one) for one in [*shared, *raw.get("parameters", [])]]
        body, required = None, False
        if self.is_2:
            found = next((one for one in parameters if one["in"] == "body"), None)
            if found is not None:
                consumes = raw.get("consumes", self.root.get("consumes", ["application/json"]))
                body, required = dict.fromkeys(consumes, found["schema"]), found.get("required", False)
        elif "requestBody" in raw:
            found = self.follow(raw["requestBody"])
            body = {media: one.get("schema", {}) for media, one in found["content"].items()}
            required = found.get("required", False)
        responses = {}
        for status, one in raw.get("responses", {}).items():
            followed = self.follow(one)
            if self.is_2:
                produces = raw.get("produces", self.root.get("produces", ["application/json"]))
                contents = dict.fromkeys(produces, followed["schema"]) if "schema" in followed else {}
            else:
                contents = {media: row.get("schema", {}) for media, row in followed.get("content", {}).items()}
            responses[status] = {} if status in {"204", "205"} else contents
        security = raw.get("security", self.root.get("security", []))
        kept = [one for one in parameters if one["in"] in {"path", "query", "header", "cookie"}]
        return Operation(method.upper(), path, kept, body, required, responses, security)

    def schema_of(self, parameter):
        """The schema of a parameter."""
        return parameter if self.is_2 else parameter.get("schema", {})

    def find(self, method, path):
        """The operation of a request; a status where there is none."""
        hits = [one for one in self.operations if one.route.fullmatch(path)]
        # A path without placeholders is tried first, as ASP.NET does.
        hits.sort(key=lambda one: len(one.names))
        return next((one for one in hits if one.method == method), 405 if hits else 404)

    def credentials(self, operation):
        """The alternatives that are enough: how each is sent, with the scopes it needs."""
        where = (
            self.root.get("securityDefinitions")
            if self.is_2
            else self.root.get("components", {}).get("securitySchemes")
        )
        found = []
        for requirement in operation.security:
            one = {}
            for name, scopes in requirement.items():
                scheme = (where or {})[name]
                if scheme["type"] in {"oauth2", "openIdConnect"} or scheme.get("scheme", "").lower() == "bearer":
                    one["authorization"] = set(scopes)
                else:
                    one[scheme.get("name", scheme.get("scheme", "")).lower()] = set(scopes)
            found.append(one)
        return found or [{}]

    def meaning(self, operation):
        """What a request to *operation* and its responses depend on: two that are equal behave alike."""
        found, waiting = {}, [dataclasses.asdict(operation)]
        for one in waiting:
            values = one.values() if isinstance(one, dict) else one
            for value in values:
                if isinstance(value, str) and value.startswith("#/") and value not in found:
                    found[value] = self.follow({"$ref": value})
                    waiting.append(found[value])
                elif isinstance(value, dict | list):
                    waiting.append(value)
        return json.dumps(
            [dataclasses.asdict(operation), found, self.credentials(operation)], default=str, sort_keys=True
        )

    # --- requests ---------------------------------------------------------------------------------------------------

    def check(self, request, given):  # noqa: C901 - in the order of ASP.NET
        """
        Read one request.

        Args:
            request: As a `SeenRequest`.
            given: Credentials that the caller has: scopes by the header or parameter that has them.

        Returns:
            Status of the response, 200 where all is well; the operation; what was not read; each parameter as it was
            read.
        """
        operation = self.find(request.method, request.path)
        if isinstance(operation, int):
            return operation, None, set(), set()
        if not any(_allows(one, request.headers, given) for one in self.credentials(operation)):
            return 401, operation, set(), set()
        problems, ignored, read = [], set(), set()
        values = self._values(operation, request, ignored)
        for parameter in operation.parameters:
            name, where = parameter["name"], parameter["in"]
            texts = values.get((where, name.lower()))
            if texts is None:
                if parameter.get("required") or where == "path":
                    problems.append(f"{where} {name}: is required")
                continue
            texts = self._texts(parameter, texts)
            if name.lower() not in OF_THE_CLIENT:
                read.add((where, "" if where == "path" else name.lower(), *texts))
            problems += [f"{where} {name}: {one}" for one in self._parameter(parameter, texts)]
        if operation.body is None:
            if request.body:
                ignored.add("body")
        elif not request.body:
            problems += ["body: is required"] if operation.body_required else []
        else:
            media = request.headers.get("content-type", "").split(";")[0]
            accepted = [one for one in operation.body if _accepts(one.split(";")[0].strip(), media)]
            if not accepted:
                return 415, operation, ignored, read
            self._validate(operation.body[accepted[0]], json.loads(request.body), "body", problems, ignored)
        return 400 if problems else 200, operation, ignored, read

    def _values(self, operation, request, ignored):
        match = operation.route.fullmatch(request.path)
        values = {
            ("path", name.lower()): [unquote(text)] for name, text in zip(operation.names, match.groups(), strict=True)
        }
        known = {one["name"].lower() for one in operation.parameters if one["in"] == "query"}
        for name, text in parse_qsl(request.query, keep_blank_values=True):
            if name.lower() in known:
                values.setdefault(("query", name.lower()), []).append(text)
            else:
                ignored.add(f"query {name}")
        named = {one["name"].lower() for one in operation.parameters if one["in"] == "header"}
        for name, text in request.headers.items():
            values["header", name.lower()] = [text]
            if name.lower() not in named | OF_THE_CLIENT:
                ignored.add(f"header {name}")
        return values

    def _texts(self, parameter, texts):
        """The items of a list in the notation of the document, or the values of anything else."""
        if self._kind(self.follow(self.schema_of(parameter))) != "array":
            return texts
        style = parameter.get("collectionFormat", "csv") if self.is_2 else parameter.get("style", "form")
        joined = style != "multi" if self.is_2 else parameter.get("explode", style == "form") is False
        if not joined and parameter["in"] == "query":
            return texts
        mark = {"ssv": " ", "spaceDelimited": " ", "pipes": "|", "pipeDelimited": "|"}.get(style, ",")
        return [one for text in texts[:1] for one in text.split(mark)]  # a key that is repeated is read once

    def _parameter(self, parameter, texts):
        schema, problems = self.follow(self.schema_of(parameter)), []
        if self._kind(schema) == "array":
            values = [_parsed(self._kind(self.follow(schema.get("items", {}))), text) for text in texts]
            self._validate(schema, values, "items", problems, set())
        elif len(texts) > 1:
            return ["is given twice"]
        else:
            self._validate(schema, _parsed(self._kind(schema), texts[0]), "value", problems, set())
        return problems

    def _kind(self, schema):
        kinds = schema.get("type", [])
        kinds = [one for one in ([kinds] if isinstance(kinds, str) else kinds) if one != "null"]
        number = [one for one in kinds if one in {"integer", "number"}]
        if number or kinds:
            return (number or kinds)[0]
        if "properties" in schema:
            return "object"
        for key in ("oneOf", "anyOf", "allOf"):
            for one in schema.get(key, []):
                if found := self._kind(self.follow(one)):
                    return found
        return "string" if all(isinstance(one, str) for one in schema.get("enum", [0])) else ""

    def allows_null(self, schema):
        """Whether null is one of the values."""
        schema = self.follow(schema)
        kinds = schema.get("type", [])
        return (
            schema.get("nullable") is True
            or schema.get("x-nullable") is True
            or "null" in ([kinds] if isinstance(kinds, str) else kinds)
            or any(self.follow(one).get("type") == "null" for key in ("oneOf", "anyOf") for one in schema.get(key, []))
        )

    def _validate(self, schema, value, place, problems, ignored):
        schema = self.follow(schema)
        if value is None:
            if not self.allows_null(schema) and self._kind(schema):
                problems.append(f"{place}: must not be null")
            return
        parts = schema.get("oneOf", schema.get("anyOf"))
        if parts is not None and not self._number_or_text(parts):
            self._validate_one_of(schema, parts, value, place, problems, ignored)
            return
        kind = self._kind(schema)
        if kind == "object" or (kind == "" and isinstance(value, dict) and "additionalProperties" in schema):
            self._validate_object(schema, value, place, problems, ignored)
        elif kind == "array":
            if not isinstance(value, list):
                problems.append(f"{place}: must be a list")
                return
            if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", math.inf):
                problems.append(f"{place}: has {len(value)} items")
            for index, one in enumerate(value):
                self._validate(schema.get("items", {}), one, f"{place}[{index}]", problems, ignored)
        else:
            problems += [f"{place}: {one}" for one in _wrong_value(schema, kind, value)]

    def _number_or_text(self, parts):
        kinds = {self._kind(self.follow(one)) for one in parts} - {"", "null"}
        return "string" in kinds and bool(kinds & {"integer", "number"})

    def _validate_one_of(self, schema, parts, value, place, problems, ignored):  # noqa: PLR0917 - as _validate
        found = []
        tag = schema.get("discriminator", {}).get("propertyName")
        mapping = schema.get("discriminator", {}).get("mapping", {})
        if tag:
            named = isinstance(value, dict) and value.get(tag)
            if named not in mapping:
                problems.append(f"{place}: names no variant in {tag}")
                return
            parts = [{"$ref": mapping[named]}]
        for one in parts:
            if self.follow(one).get("type") == "null":
                continue
            wrong, lost = [], set()
            self._validate(one, value, place, wrong, lost)
            found.append((wrong, lost))
        wrong, lost = min(found, key=lambda row: (len(row[0]), len(row[1])))
        problems += wrong
        ignored |= lost - {f"{place}.{tag}"}

    def members(self, schema):
        """Properties and names of required ones of an object, those of `allOf` included."""
        properties, required = {}, set()
        for part in schema.get("allOf", []):
            inner, wanted = self.members(self.follow(part))
            properties, required = {**properties, **inner}, required | wanted
        wanted = schema.get("required", [])
        required |= {one.lower() for one in (wanted if isinstance(wanted, list) else [])}
        return {**properties, **schema.get("properties", {})}, required

    def _validate_object(self, schema, value, place, problems, ignored):
        if not isinstance(value, dict):
            problems.append(f"{place}: must be an object")
            return
        properties, required = self.members(schema)
        by_name = {name.lower(): one for name, one in properties.items()}
        given = {name.lower() for name in value}
        for name in required - given:
            if not self.follow(by_name.get(name, {})).get("readOnly"):
                problems.append(f"{place}.{name}: is required")
        tag = schema.get("discriminator", {})
        tag = tag if isinstance(tag, str) else tag.get("propertyName", "")
        for name, one in value.items():
            known = by_name.get(name.lower())
            more = schema.get("additionalProperties")
            if known is not None and not self.follow(known).get("readOnly"):
                self._validate(known, one, f"{place}.{name}", problems, ignored)
            elif known is None and isinstance(more, dict):
                self._validate(more, one, f"{place}.{name}", problems, ignored)
            elif not (known is None and more is True) and name != tag:
                ignored.add(f"{place}.{name}")

    # --- responses --------------------------------------------------------------------------------------------------

    def replies(self, operation):
        """Every response that the document allows, by name: each 2xx, whole, bare, with null, with each enum value."""
        found = self._replies.setdefault((operation.method, operation.path), {})
        if found:
            return found
        successes = [one for one in operation.responses if one.startswith("2")]
        for status in successes or [one for one in operation.responses if one == "default"] or [None]:
            contents = operation.responses.get(status, {})
            code = int(status) if status and status.isdecimal() else 200
            media = next((one for one in contents if "json" in one or one == "*/*"), next(iter(contents), None))
            if media is None:
                found[f"{status} empty"] = Reply(status=code, body=b"", headers={"content-length": "0"})
                continue
            is_json = "json" in media or media == "*/*"
            headers = {"content-type": "application/json" if is_json else media}
            for name, value in self.samples(contents[media], "readable").items():
                body = json.dumps(value).encode() if is_json else str(value).encode()
                found[f"{status} {name}"] = Reply(status=code, body=body, headers=headers)
        return found

    def samples(self, schema, side):
        """Values that the document allows, by name; *side* is `readable` or `sendable`."""
        found = {}
        for mode in MODES:
            for pick in range(PICKS):
                value = self.sample(schema, mode, pick, side, 0)
                if value not in found.values():
                    found[f"{mode} {pick}"] = value
        return found

    def sample(self, schema, mode, pick, side, depth):  # noqa: PLR0911 - one for each kind
        """One value of *schema*: as `samples` has them."""
        schema = self.follow(schema)
        if mode == "null" and depth and self.allows_null(schema):
            return None
        parts = schema.get("oneOf", schema.get("anyOf"))
        if parts is not None and not self._number_or_text(parts):
            return self._sample_one_of(schema, parts, mode, pick, side, depth)
        kind = self._kind(schema)
        values = [one for one in schema.get("enum", []) if one is not None]
        if values:
            return values[pick % len(values)]
        if kind == "array":
            if (mode == "bare" and not schema.get("minItems")) or depth > DEEPEST:
                return []
            count = {"most": schema.get("maxItems", 2), "least": schema.get("minItems", 0)}.get(mode, 1)
            one = self.sample(schema.get("items", {}), mode, pick, side, depth + 1)
            return [one] * min(max(count, schema.get("minItems", 0)), 20)
        if kind == "object" or "additionalProperties" in schema:
            return self._sample_object(schema, mode, pick, side, depth)
        return _sample_value(schema, kind, mode)

    def _sample_one_of(self, schema, parts, mode, pick, side, depth):  # noqa: PLR0917 - as sample
        tag = schema.get("discriminator", {}).get("propertyName")
        mapping = schema.get("discriminator", {}).get("mapping", {})
        if tag and mapping:
            name, where = list(mapping.items())[pick % len(mapping)]
            made = self.sample({"$ref": where}, mode, pick, side, depth + 1)
            return {**self._sample_members(schema, mode, pick, side, depth), **made, tag: name}
        options = [one for one in parts if self.follow(one).get("type") != "null"]
        return self.sample(options[pick % len(options)], mode, pick, side, depth)

    def _sample_object(self, schema, mode, pick, side, depth):
        made = self._sample_members(schema, mode, pick, side, depth)
        more = schema.get("additionalProperties")
        if isinstance(more, dict) and mode != "bare" and depth <= DEEPEST:
            made["key"] = self.sample(more, mode, pick, side, depth + 1)
        return made

    def _sample_members(self, schema, mode, pick, side, depth):
        properties, required = self.members(schema)
        hidden = {"readable": "writeOnly", "sendable": "readOnly"}[side]
        made = {}
        for name, one in properties.items():
            followed = self.follow(one)
            wanted = name.lower() in required
            deep = depth >= DEEPEST and self._kind(followed) in {"object", "array", ""}
            bare = mode == "bare" or (mode == "inner" and depth)
            if followed.get(hidden) or (not wanted and (bare or deep)):
                continue
            made[name] = self.sample(one, mode, pick, side, depth + 1)
        return made


def _allows(wanted, headers, given):
    """Whether what was given is enough; a token must have been sent, other schemes are the host's to send."""
    if "authorization" in wanted and "authorization" not in headers:
        return False
    return all(name in given and scopes <= given[name] for name, scopes in wanted.items())


def _accepts(documented, media):
    documented = documented.lower()
    return documented in {media, "*/*", "application/*"} or (
        documented.startswith("application/*+") and "json" in media
    )


def _parsed(kind, text):
    try:
        return {"integer": int, "number": float, "boolean": {"true": True, "false": False}.__getitem__}[kind](text)
    except (KeyError, ValueError):
        return text


def _wrong_value(schema, kind, value):
    fits = {
        "string": isinstance(value, str),
        "integer": isinstance(value, int) and not isinstance(value, bool),
        "number": isinstance(value, int | float) and not isinstance(value, bool),
        "boolean": isinstance(value, bool),
    }
    if not fits.get(kind, True):
        yield f"must be {kind}"
        return
    values = [one for one in schema.get("enum", []) if one is not None]
    if values and value not in values:
        yield "is no value of the enum"
    if kind in {"integer", "number"}:
        low, high = BOUNDS.get(schema.get("format", ""), (-math.inf, math.inf))
        if not max(low, schema.get("minimum", -math.inf)) <= value <= min(high, schema.get("maximum", math.inf)):
            yield "is out of range"
    elif kind == "string":
        if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", math.inf):
            yield "is of a wrong length"
        if "pattern" in schema and not re.search(schema["pattern"], value):
            yield "does not match the pattern"
        if not _is_format(schema.get("format", "").lower(), value):
            yield f"is no {schema['format']}"


def _is_format(name, text):
    read = {
        "date-time": lambda: "T" in text and datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text)),
        "date": lambda: date.fromisoformat(text),
        "time": lambda: time.fromisoformat(text),
        "uuid": lambda: UUID(text),
        "guid": lambda: UUID(text),
        "email": lambda: "@" in text,
        "uri": lambda: "://" in text,
        "byte": lambda: base64.b64decode(text, validate=True) is not None,
        **dict.fromkeys(("duration", "time-span", "date-span"), lambda: SPAN.fullmatch(text)),
    }.get(name, lambda: True)
    try:
        return read() is not False and read() is not None
    except ValueError:
        return False


def _sample_value(schema, kind, mode):
    name = schema.get("format", "").lower()
    if kind == "boolean":
        return True
    if kind in {"integer", "number"}:
        low, high = BOUNDS.get(name, (-1000, 1000))
        low, high = max(low, schema.get("minimum", low)), min(high, schema.get("maximum", high))
        middle = 7 if low <= 7 <= high else low
        if kind == "number" and "multipleOf" not in schema and low <= middle + 0.5 <= high:
            middle += 0.5
        return {"least": low, "most": high}.get(mode, middle)
    if kind != "string":
        return {"any": 1} if kind == "" else None
    if name in TEXTS and "pattern" not in schema:
        return TEXTS[name]
    if name in BOUNDS:
        return "7"
    shortest, longest = schema.get("minLength", 0), schema.get("maxLength", 300)
    options = {"least": ["x" * shortest], "most": ["x" * longest]}.get(mode, []) + list(CANDIDATES)
    found = [one for one in options if re.search(schema.get("pattern", ""), one) and shortest <= len(one) <= longest]
    return found[0] if found else "x" * max(shortest, 1)
