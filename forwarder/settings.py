"""The settings: environment variables and an env file, nothing else. Environment wins.

Every plug-in declares its own settings as a subclass of `EnvSettings` with `env_prefix="FORWARDER_<NAME>_"`; the
daemon's own are `Settings`. A field's description is the text of the README's settings table and the hint in an error.
"""

import difflib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar, get_args

from pydantic import AfterValidator, BeforeValidator, ByteSize, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticUndefined
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from forwarder.errors import ConfigurationError, Problem
from forwarder.given import Given, collect, describe, read_env_file

DEFAULT_ENV_FILE = Path("config/forwarder.env")
_OWN = "FORWARDER_"
_AWS = "AWS_"


_Class = TypeVar("_Class", bound="EnvSettings")


class EnvSettings(BaseSettings):
    """Base of all settings classes. Built from keyword arguments alone; `load` is what reads environment and file."""

    model_config = SettingsConfigDict(
        env_prefix=_OWN,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        enable_decoding=False,  # a field that wants JSON parses it in a validator: a mistake is then one of all
        validate_default=True,
        allow_inf_nan=False,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what `load` collected and nothing behind its back."""
        return (init_settings,)

    @classmethod
    def load(cls, env_file: Path | None = None) -> Self:
        """Read this class alone. Unknown keys pass: whether a key is unknown, only `load_all` can tell.

        Raises:
            ConfigurationError: with every problem found.
        """
        given, problems = collect(env_file)
        instance, own_problems = _build(cls, given)
        if instance is None or problems:
            raise ConfigurationError([*problems, *own_problems])
        return instance

    @classmethod
    def env_names(cls) -> dict[str, str]:
        """The full environment name of every field, by field name."""
        prefix = cls.model_config.get("env_prefix", "")
        return {
            name: field.validation_alias if isinstance(field.validation_alias, str) else f"{prefix}{name}".upper()
            for name, field in cls.model_fields.items()
        }

    def secrets(self) -> frozenset[str]:
        """The secret values in use, so that the logs can mask them wherever they turn up."""
        values = (getattr(self, name) for name in type(self).model_fields)
        return frozenset(value.get_secret_value() for value in values if isinstance(value, SecretStr))


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


Size = Annotated[ByteSize, AfterValidator(int)]  # a plain int from here on: msgspec cannot encode a ByteSize


class PluginChoice(EnvSettings):
    """Which plug-ins run. Read first, because their own settings depend on it."""

    intake: str = Field(default="mqtt", description="The name of the intake plug-in that receives the notifications.")
    sink: str = Field(
        default="eventbridge", description="The name of the sink plug-in that delivers; `stdout` prints entries."
    )


class IntegrationFiles(EnvSettings):
    """Where the integrations are."""

    integrations_dir: Path = Field(
        default=Path("config/integrations"), description="The directory of the integrations, one `<id>.env` file each."
    )


class HttpSettings(EnvSettings):
    """Where probes, metrics, API and console are, and who may use them."""

    http_host: str = Field(
        default="127.0.0.1", min_length=1, description="The address that probes, metrics, API and console listen on."
    )
    http_port: int = Field(
        default=8080, ge=0, le=65_535, description="The port they listen on, 0 to 65535; 0 takes any free one."
    )
    admin_token: SecretStr | None = Field(
        default=None,
        description="The bearer token that may see and change everything; without one nothing can be changed.",
    )
    viewer_token: SecretStr | None = Field(default=None, description="The bearer token that may see everything.")


class Settings(HttpSettings, IntegrationFiles, PluginChoice):
    """The daemon's own settings. The bases are what single commands need of them."""

    organization_id: str = Field(
        pattern=r"^[A-Za-z0-9._\-]{1,64}$",
        description="The organization's id, 1 to 64 of `A-Za-z0-9.-_`; it is in every event source name.",
    )
    event_source_prefix: str = Field(
        default="aws.partner/genesys.com/cloud",
        pattern=r"^aws\.partner(/[A-Za-z0-9._\-]+)+$",
        max_length=120,  # with an organization and a suffix of 64 each the name stays within AWS's 256
        description="The start of every event source name, which is prefix / organization / suffix.",
    )
    state_dir: Path = Field(
        default=Path("var"), description="The directory of the spool, the lifecycle record and the dead letters."
    )
    event_id: bool = Field(default=True, description="Whether `metadata.EventId` is added to each delivered event.")
    batch_max_entries: int = Field(
        default=20, ge=1, le=20, description="A call leaves when it has this many entries, 1 to 20."
    )
    batch_max_bytes: Size = Field(
        default=ByteSize(262_144),
        ge=1024,
        le=1_048_576,
        description="A call leaves before it is larger than this, 1KiB to 1MiB; AWS takes 256KiB from partners.",
    )
    batch_linger_ms: float = Field(
        default=10,
        ge=0,
        le=10_000,
        description="A call that is not full leaves after this many milliseconds, at most 10000.",
    )
    retention_hours: float = Field(
        default=96, gt=0, le=24 * 365, description="An event that could not be delivered for this many hours expires."
    )
    spool_max_bytes: Size = Field(
        default=ByteSize(10 * 1024**3),
        ge=1024**2,
        description="The most disk space the spool may take, such as `10GiB`; when full, the intake waits.",
    )
    dead_letter_retention_hours: float = Field(
        default=24 * 14, gt=0, le=24 * 365, description="A dead letter is deleted after this many hours."
    )
    dead_letter_max: int = Field(
        default=100_000, ge=1, description="The most dead letters that are kept; beyond it the oldest are deleted."
    )
    reload_seconds: float = Field(
        default=10,
        ge=0.1,
        le=60,
        description="The longest time between two looks at the integration files, 0.1 to 60 seconds.",
    )
    source_poll_seconds: float = Field(
        default=60,
        ge=1,
        le=86_400,
        description="The seconds between two looks at the state of the event sources in AWS.",
    )
    reactivate_on_identity_change: bool = Field(
        default=False,
        description="Whether a change of account, region or suffix is activated again without being asked.",
    )
    hold_while_pending: bool = Field(
        default=False,
        description="Whether events wait while an event source is PENDING, in which state AWS accepts and drops them.",
    )
    put_calls_per_second: float = Field(
        default=1400, gt=0, description="The most calls a second in one region; 1400 is the quota AWS starts with."
    )
    put_calls_burst: int = Field(
        default=3600, ge=1, description="The most calls at once in one region after a quiet time; 3600 is AWS's quota."
    )
    max_concurrency: int = Field(
        default=64,
        ge=1,
        le=1000,
        description="The calls in flight in one region, 1 to 1000; fair shares may add as many again.",
    )
    shutdown_seconds: float = Field(
        default=20, gt=0, le=3600, description="The seconds a stopping daemon has to finish the calls in flight."
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = Field(
        default="info",
        description="The least severe log lines that are written: `debug`, `info`, `warning` or `error`.",
    )
    log_format: Annotated[Literal["json", "console"] | None, BeforeValidator(_lower)] = Field(
        default=None,
        description="The form of the log, `json` or `console`; by default `console` on a terminal, else `json`.",
    )


def load_all(
    classes: Sequence[type[EnvSettings]], env_file: Path | None = None, *, other_prefixes: Iterable[str] = ()
) -> list[EnvSettings]:
    """Read several classes and report everything that is wrong with any of them at once.

    A `FORWARDER_` key in the file that belongs to none of them is an error, unless it starts with one of
    `other_prefixes` (those of plug-ins that were not chosen). In the environment it is none: orchestrators put
    variables there that merely look like ours (Kubernetes' `FORWARDER_SERVICE_HOST`).

    Raises:
        ConfigurationError: with every problem found.
    """
    given, problems = collect(env_file)
    instances = []
    for cls in classes:
        instance, own_problems = _build(cls, given)
        problems += own_problems
        if instance is not None:
            instances.append(instance)
    problems += _unknown(given, classes, tuple(other_prefixes))
    if problems:
        unique = dict.fromkeys(problems)  # a class and its base report the same
        raise ConfigurationError(sorted(unique, key=lambda problem: (problem.source or "", problem.line or 0)))
    return instances


def export_aws(env_file: Path | None) -> None:
    """Put the file's AWS_* keys that are not set into this process's environment, where botocore looks for them."""
    if env_file is None:
        return
    for key, given in read_env_file(env_file)[0].items():
        if key.startswith(_AWS) and given.value:
            os.environ.setdefault(key, given.value)


def settings_table(classes: Iterable[type[EnvSettings]]) -> str:
    """A markdown table of every setting: name, default, meaning. Of each class those that are required come first; a
    setting that several classes read is told once."""
    rows: dict[str, str] = {}
    for cls in classes:
        fields = [(name, cls.model_fields[field_name]) for field_name, name in cls.env_names().items()]
        for name, field in sorted(fields, key=lambda each: not each[1].is_required()):
            by_file = f" Also by file: `{name}_FILE`." if _is_secret(field) else ""
            rows.setdefault(name, f"| `{name}` | {_default(field)} | {field.description or ''}{by_file} |")
    return "\n".join(["| name | default | meaning |", "|---|---|---|", *rows.values()]) + "\n"


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is PydanticUndefined:
        return "required"
    if value in (None, ""):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, ByteSize):
        return f"`{value.human_readable(separator='').replace('.0', '')}`"
    return f"`{value.get_secret_value() if isinstance(value, SecretStr) else value}`"


def _is_secret(field: FieldInfo) -> bool:
    return SecretStr in (field.annotation, *get_args(field.annotation))


def _build(cls: type[_Class], given: Mapping[str, Given]) -> tuple[_Class | None, list[Problem]]:
    names = cls.env_names()
    own, problems = _with_secret_files(cls, given)
    source = EnvSettingsSource(cls)
    source.env_vars = {name.lower(): own[name].value for name in names.values() if name in own}
    values = source()
    try:
        instance = cls(**values)
    except ValidationError as error:
        failures = error.errors(include_url=False, include_input=False)
        excused = {problem.key for problem in problems}
        described = (_describe(cls, failure, own) for failure in failures)
        return None, [*problems, *(problem for problem in described if problem.key not in excused)]
    return (None, problems) if problems else (instance, [])


def _with_secret_files(cls: type[EnvSettings], given: Mapping[str, Given]) -> tuple[dict[str, Given], list[Problem]]:
    """Add the secrets that are given by file, as container secrets are mounted, under their own names."""
    own, problems = dict(given), []
    for name in _secret_names(cls):
        by_file = given.get(f"{name}_FILE")
        if by_file is None:
            continue
        if name in given:
            fault = f"both {name} and {name}_FILE are given"
            problems.append(by_file.problem(fault, name, "give the secret one way only"))
            continue
        try:
            text = Path(by_file.value).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            problems.append(by_file.problem(f"{by_file.value} cannot be read: {reason}", f"{name}_FILE"))
            continue
        if text:
            own[name] = Given(text, by_file.source, by_file.line)
        else:
            problems.append(by_file.problem(f"{by_file.value} is empty", f"{name}_FILE"))
    return own, problems


def _describe(cls: type[EnvSettings], failure: ErrorDetails, own: Mapping[str, Given]) -> Problem:
    names = cls.env_names()
    where = str(failure["loc"][0]) if failure["loc"] else ""
    key = names.get(where, where) or None  # of a field with an alias, pydantic names the alias
    hint = next((field.description for name, field in cls.model_fields.items() if names[name] == key), None)
    secrets = [own[name].value for name in _secret_names(cls) if name in own]
    return describe(failure, key, hint, own.get(key or ""), secrets)


def _unknown(
    given: Mapping[str, Given], classes: Sequence[type[EnvSettings]], other_prefixes: tuple[str, ...]
) -> Iterator[Problem]:
    known = {
        name for cls in classes for name in (*cls.env_names().values(), *map("{}_FILE".format, _secret_names(cls)))
    }
    for key, value in given.items():
        ours = key.upper().startswith(_OWN) and value.line is not None
        if ours and key not in known and not key.startswith(other_prefixes):
            near = difflib.get_close_matches(key.upper(), known, n=1)
            yield value.problem("there is no such setting", key, f"did you mean {near[0]}?" if near else None)


def _secret_names(cls: type[EnvSettings]) -> list[str]:
    return [name for field_name, name in cls.env_names().items() if _is_secret(cls.model_fields[field_name])]
