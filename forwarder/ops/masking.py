"""Secrets stay out of the logs: by the name they go under, by their value, and by the shape of where they stand."""

import os
import re
from collections.abc import Iterable, Mapping

MASK = "***"

_SECRET_NAME = re.compile(
    r"passw|secret|token|authori[sz]ation|credential|api_?key|access_?key|private_?key|signature|cookie", re.IGNORECASE
)
_SHAPES = (
    (
        re.compile(r"(://[^/\s:@]*):[^/\s]*@"),
        rf"\1:{MASK}@",
    ),  # the password in a URL, up to the last @ (RFC 3986, 3.2.1)
    (re.compile(r"(\bbearer\s+)[\w.~+/=-]+", re.IGNORECASE), rf"\1{MASK}"),
    (re.compile(r"(\bSignature=)[0-9a-f]+"), rf"\1{MASK}"),
)
_AWS_SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_SHORTEST = 4  # masking every "a" because somebody's password is "a" would hide the log and not the password


class Masker:
    """Replaces secrets in log values. `secrets` are the values of the settings that are secret; botocore's, where they
    are in the environment, are added."""

    def __init__(self, secrets: Iterable[str]) -> None:
        values = {*secrets, *(os.environ.get(name, "") for name in _AWS_SECRETS)}
        longest_first = sorted((re.escape(value) for value in values if len(value) >= _SHORTEST), key=len, reverse=True)
        self._values = re.compile("|".join(longest_first)) if longest_first else None

    def mask(self, value: object, name: str = "") -> object:
        """The value with every secret in it replaced, whatever it is nested in. What JSON has no form for becomes text
        here, because nobody could look for secrets in it afterwards."""
        match value:
            case None | bool() | int() | float() | "":
                return value  # a count of `credentials` errors is no secret
            case Mapping():  # never as a whole: an integration's id, `token-service`, is a name too
                return {self.mask_text(str(key)): self.mask(item, str(key)) for key, item in value.items()}
            case _ if _SECRET_NAME.search(name):
                return MASK
            case str():
                return self.mask_text(value)
            case list() | tuple() | set() | frozenset():
                return [self.mask(item) for item in value]
            case _:
                return self.mask_text(str(value))

    def mask_text(self, text: str) -> str:
        """The text with every secret in it replaced."""
        if self._values is not None:
            text = self._values.sub(MASK, text)
        for shape, replacement in _SHAPES:
            text = shape.sub(replacement, text)
        return text
