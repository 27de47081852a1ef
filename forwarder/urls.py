"""What makes a URL one that a connection can be tried to. Pure."""

import re
from urllib.parse import SplitResult, urlsplit

_NOT_IN_A_URL = re.compile(r"[\x00-\x20\x7f]")  # RFC 3986, section 2: urlsplit would drop some of them in silence


def parse_url(url: str, schemes: tuple[str, ...]) -> SplitResult:
    """The URL's parts, of which scheme, host and port are such as can be used.

    Raises:
        ValueError: they are not. The text quotes nothing of the URL, since it may hold a password.
    """
    form = " or ".join(f"{scheme}://host:port" for scheme in schemes)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        about = "has a port that is not 1 to 65535" if "ort " in str(error) else f"is not of the form {form}"
        raise ValueError(about) from None
    if parts.scheme not in schemes or not host or _NOT_IN_A_URL.search(url):
        raise ValueError(f"is not of the form {form}")
    if port == 0:
        raise ValueError("has a port that is not 1 to 65535")
    _check_host(host)
    if parts.fragment:
        raise ValueError("has a part that starts with #, which is never sent")
    return parts


def _check_host(host: str) -> None:
    try:
        encoded = host.encode("idna")  # as the socket module does it
    except UnicodeError:
        encoded = b""
    if not 0 < len(encoded) <= 253:  # RFC 1035, section 2.3.4, without the lengths' own octets
        raise ValueError("has a host name with an empty part, one longer than 63 characters, or more than 253 in all")
