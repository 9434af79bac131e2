"""The settings that all transports share, and the HTTP libraries that a client can choose from."""

from dataclasses import dataclass
from typing import Annotated, NamedTuple

from middleware.settings import Settings, SettingSpec

__all__ = ["AUTO", "LIBRARIES", "MAX_IDLE_FOR_UNSAFE_S", "Library", "TransportSettings"]

MAX_IDLE_FOR_UNSAFE_S = 0.9
"""
Longest idle time, in seconds, after which a connection may carry a request that must not be repeated.

Servers close idle connections after whole seconds (some gateways 1, uvicorn 5, nginx 75, Kestrel 130), and one that
closes while a request is on its way loses it without notice. A read is then simply sent again; a write could not be. So
it is less than a second, by the time that a request may be on its way.
"""


class Library(NamedTuple):
    """
    A transport over one HTTP library.

    Attributes:
        module: Dotted path of the transport's module.
        class_name: The transport's class there.
        extra: Extra of this package that installs the library; empty where it is always installed.
    """

    module: str
    class_name: str
    extra: str


LIBRARIES = {
    "httptools": Library("middleware.transports.httptools_transport", "HttptoolsTransport", "fast"),
    "h11": Library("middleware.transports.h11_transport", "H11Transport", ""),
    "httpcore": Library("middleware.transports.httpcore_transport", "HttpcoreTransport", ""),
    "aiohttp": Library("middleware.transports.aiohttp_transport", "AiohttpTransport", "aiohttp"),
}
"""The transports to choose from, by the value of the setting `library`."""

AUTO = "auto"
"""The value of `library` for the fastest that needs nothing but what is installed: httptools, else h11."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportSettings(Settings):
    """Connections and responses of one service, whatever the HTTP library."""

    library: Annotated[
        str,
        SettingSpec(
            shared=True,
            doc="HTTP library under the stack; auto takes httptools where it is installed (extra fast), else h11; "
            "aiohttp needs the extra of its name.",
            choices=(AUTO, *LIBRARIES),
            raise_when="`aiohttp` where a host has it in use already; `h11` or `httptools` to fix the parser; "
            "`httpcore` to compare.",
        ),
    ] = AUTO
    connect_timeout_s: Annotated[
        float,
        SettingSpec(
            shared=True,
            doc="Time for connecting, TLS included.",
            unit="s",
            ge=0.001,
            le=600,
            source="httpx",
            raise_when="Connections are made over slow or distant networks.",
            lower_when="A host that does not respond should be given up sooner.",
        ),
    ] = 5.0
    max_response_bytes: Annotated[
        int,
        SettingSpec(
            shared=True,
            doc="Largest response body, as sent and decompressed.",
            unit="bytes",
            ge=1024,
            le=2**31,
            raise_when="Calls end with `RESPONSE_TOO_LARGE` for documents that are right.",
            lower_when="Memory is short, or parsing large documents blocks the event loop for too long.",
        ),
    ] = 8 * 1024 * 1024
    max_header_bytes: Annotated[
        int,
        SettingSpec(
            shared=True,
            doc="Largest head of a response: status line and headers.",
            unit="bytes",
            ge=1024,
            le=96 * 1024,  # h11 gives up at 100 kB
            source=".NET HttpClient: MaxResponseHeadersLength",
            raise_when="Responses with many or large headers are rejected.",
            lower_when="No response needs so many, and memory is short.",
        ),
    ] = 64 * 1024
    keepalive_expiry_s: Annotated[
        float,
        SettingSpec(
            shared=True,
            doc="Idle connections are closed after this time.",
            unit="s",
            ge=0,
            le=600,
            source="httpx",
            raise_when="Calls are rare, and the gateway keeps idle connections for longer than this.",
            lower_when="The gateway closes idle connections sooner, so that requests are lost on them (ST309).",
        ),
    ] = 5.0
    connection_lifetime_s: Annotated[
        float,
        SettingSpec(
            shared=True,
            doc="Connections are replaced after this time, times U(0.8, 1), so that a name that moved is followed; 0 "
            "keeps them for ever.",
            unit="s",
            ge=0,
            le=86_400,
            source=".NET HttpClient guidelines: PooledConnectionLifetime",
            raise_when="The platform's name never moves, and making connections is expensive.",
            lower_when="Traffic must follow a name that moved sooner.",
        ),
    ] = 300.0
    dns_cache_s: Annotated[
        float,
        SettingSpec(
            shared=True,
            doc="The addresses of a name are used for this time without a look-up.",
            unit="s",
            ge=0,
            le=600,
            raise_when="Look-ups are slow, and names do not move.",
            lower_when="Names move often; 0 looks up for each connection.",
        ),
    ] = 5.0
    ca_file: Annotated[
        str,
        SettingSpec(
            shared=True,
            doc="PEM file of the authorities to trust instead of the public ones; read again when it changes.",
            raise_when="The platform's certificate is from a private authority.",
        ),
    ] = ""
    client_certificate_file: Annotated[
        str,
        SettingSpec(
            shared=True,
            doc="PEM file of the certificate to show to servers; may contain its key too; read again when it changes.",
            raise_when="The platform or a gateway asks for a client certificate.",
        ),
    ] = ""
    client_key_file: Annotated[
        str,
        SettingSpec(
            shared=True,
            doc="PEM file of that certificate's key, without a passphrase; read again when it changes.",
            raise_when="The key is not in the certificate's own file.",
        ),
    ] = ""
    trust_env: Annotated[
        bool,
        SettingSpec(
            shared=True,
            doc="Use the proxies that HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY name.",
            raise_when="The platform is reached through a proxy that the environment names.",
            lower_when="The proxies of the environment are for other programs.",
        ),
    ] = False
