"""The settings: layers, secrets by file, every mistake at once, and no secret in any of it."""

import os
import re
import traceback
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

from forwarder.errors import ConfigurationError, Problem
from forwarder.plugins import INTAKES, SINKS, load_intake, load_sink
from forwarder.settings import EnvSettings, Settings, export_aws, load_all, settings_table

SECRET = "s3cr3t-value"


class BrokerSettings(EnvSettings):
    """A plug-in's settings, as a plug-in writes them."""

    model_config = SettingsConfigDict(env_prefix="FORWARDER_BROKER_")

    url: str = Field(default="broker://localhost", description="Where the broker is.")
    password: SecretStr | None = Field(default=None, description="The broker's password.")

    @field_validator("password", mode="before")
    @classmethod
    def _talks_too_much(cls, value: str | None) -> str | None:
        if value and value.startswith("bad"):
            raise ValueError(f"the password {value} is bad")
        return value


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("FORWARDER_", "AWS_")):
            monkeypatch.delenv(name)


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    return tmp_path / "forwarder.env"


def problems_of(*classes: type[EnvSettings], env_file: Path | None = None) -> list[Problem]:
    with pytest.raises(ConfigurationError) as caught:
        load_all(classes, env_file)
    shown = "".join(traceback.format_exception(caught.value))
    assert SECRET not in shown
    return caught.value.problems


def test_the_defaults(env_file: Path) -> None:
    env_file.write_text("FORWARDER_ORGANIZATION_ID=acme\n")
    settings = Settings.load(env_file)
    assert settings.organization_id == "acme"
    assert (settings.intake, settings.sink, settings.event_id) == ("mqtt", "eventbridge", True)
    assert (settings.batch_max_entries, settings.batch_max_bytes, settings.batch_linger_ms) == (20, 262_144, 10)
    assert (settings.retention_hours, settings.spool_max_bytes) == (96, 10 * 1024**3)
    assert (settings.http_host, settings.http_port, settings.shutdown_seconds) == ("127.0.0.1", 8080, 20)


def test_the_environment_wins_over_the_file(env_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env_file.write_text("FORWARDER_ORGANIZATION_ID=file\nFORWARDER_HTTP_PORT=1\nFORWARDER_RELOAD_SECONDS=3\n")
    monkeypatch.setenv("FORWARDER_ORGANIZATION_ID", "environment")
    monkeypatch.setenv("FORWARDER_HTTP_PORT", "")  # as Compose sets what is not set: not given
    settings = Settings.load(env_file)
    assert (settings.organization_id, settings.http_port, settings.reload_seconds) == ("environment", 1, 3)


def test_values_in_their_usual_forms(env_file: Path) -> None:
    env_file.write_text(
        "\ufeffexport FORWARDER_ORGANIZATION_ID='acme'  # the organization\n\n"
        'FORWARDER_SPOOL_MAX_BYTES="2 GiB"\nFORWARDER_EVENT_ID=false\nFORWARDER_LOG_LEVEL=WARNING\n'
        "FORWARDER_ADMIN_TOKEN=a${HOME}b\n",
        encoding="utf-8",
    )
    settings = Settings.load(env_file)
    assert (settings.organization_id, settings.event_id, settings.log_level) == ("acme", False, "warning")
    assert settings.spool_max_bytes == 2 * 1024**3
    assert type(settings.spool_max_bytes) is int
    assert type(settings.batch_max_bytes) is int
    assert settings.secrets() == {"a${HOME}b"}  # taken as it stands


def test_every_mistake_at_once_each_at_its_place(env_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env_file.write_text(
        "# settings\n"
        "FORWARDER_BATCH_MAX_ENTRIES=21\n"
        "\n"
        "FORWARDER_HTTP_PRT=8080\n"
        "FORWARDER_HTTP_HOST=a\n"
        "FORWARDER_HTTP_HOST=b\n"
        "what is this\n"
        "FORWARDER_SPOOL_MAX_BYTES=much\n"
        "FORWARDER_BROKER_URI=x\n"
    )
    monkeypatch.setenv("FORWARDER_RELOAD_SECONDS", "61")
    problems = problems_of(Settings, BrokerSettings, env_file=env_file)
    where = {(problem.source, problem.line, problem.key): problem.message for problem in problems}
    path = str(env_file)
    assert where == {
        (None, None, "FORWARDER_ORGANIZATION_ID"): "is required",
        (path, 2, "FORWARDER_BATCH_MAX_ENTRIES"): "is more than 20",
        (path, 4, "FORWARDER_HTTP_PRT"): "there is no such setting",
        (path, 6, "FORWARDER_HTTP_HOST"): "the key is given twice, first in line 5",
        (path, 7, None): "the line is not KEY=VALUE",
        (path, 8, "FORWARDER_SPOOL_MAX_BYTES"): "is not a size in bytes such as 10GiB",
        (path, 9, "FORWARDER_BROKER_URI"): "there is no such setting",
        ("environment", None, "FORWARDER_RELOAD_SECONDS"): "is more than 60",
    }
    hints = {problem.key: problem.hint for problem in problems}
    assert hints["FORWARDER_HTTP_PRT"] == "did you mean FORWARDER_HTTP_PORT?"
    assert hints["FORWARDER_BROKER_URI"] == "did you mean FORWARDER_BROKER_URL?"
    assert (hints["FORWARDER_ORGANIZATION_ID"] or "").startswith("The organization's id")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("ORGANIZATION_ID", "a/b", "has a form that is not allowed"),
        ("EVENT_SOURCE_PREFIX", "acme.com/cloud", "has a form that is not allowed"),
        ("EVENT_SOURCE_PREFIX", "aws.partner/" + "x" * 120, "is longer than 120 characters"),
        ("HTTP_PORT", "http", "is not a whole number"),
        ("HTTP_PORT", "65536", "is more than 65535"),
        ("BATCH_MAX_BYTES", "2MiB", "is more than 1048576"),
        ("RETENTION_HOURS", "0", "is not more than 0"),
        ("RETENTION_HOURS", "nan", "is not a finite number"),
        ("EVENT_ID", "perhaps", "is neither true nor false"),
        ("LOG_FORMAT", "xml", "is not one of 'json' or 'console'"),
    ],
)
def test_says_what_is_wrong_with_a_value(monkeypatch: pytest.MonkeyPatch, key: str, value: str, message: str) -> None:
    monkeypatch.setenv("FORWARDER_ORGANIZATION_ID", "acme")
    monkeypatch.setenv(f"FORWARDER_{key}", value)
    (problem,) = problems_of(Settings)
    assert (problem.source, problem.key, problem.message) == ("environment", f"FORWARDER_{key}", message)


def test_the_same_key_in_a_class_and_its_base_is_one_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORWARDER_ORGANIZATION_ID", "")
    assert len(problems_of(Settings, Settings)) == 1


def test_keys_of_others_pass(env_file: Path) -> None:
    env_file.write_text("FORWARDER_ORGANIZATION_ID=a\nFORWARDER_OTHER_URL=x\nAWS_REGION=x\nCOMPOSE_PROJECT_NAME=x\n")
    (settings,) = load_all([Settings], env_file, other_prefixes=["FORWARDER_OTHER_"])
    assert isinstance(settings, Settings)


def test_an_orchestrators_variables_are_no_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORWARDER_ORGANIZATION_ID", "acme")
    monkeypatch.setenv("FORWARDER_SERVICE_HOST", "10.0.0.1")
    load_all([Settings])


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_an_env_file_that_cannot_be_read(env_file: Path, content: bytes | None) -> None:
    if content is not None:
        env_file.write_bytes(content)
    problems = problems_of(BrokerSettings, env_file=env_file)
    assert [problem.source for problem in problems] == [str(env_file)]
    assert problems[0].message.startswith("the env file cannot be read: ")


def test_a_secret_by_file(env_file: Path, tmp_path: Path) -> None:
    (tmp_path / "password").write_text(f"{SECRET}\n")
    env_file.write_text(f"FORWARDER_BROKER_PASSWORD_FILE={tmp_path / 'password'}\n")
    settings = BrokerSettings.load(env_file)
    assert settings.password == SecretStr(SECRET)
    assert settings.secrets() == {SECRET}
    assert SECRET not in repr(settings) + str(settings)


def test_a_secret_given_both_ways(env_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env_file.write_text("\nFORWARDER_BROKER_PASSWORD_FILE=/run/secrets/password\n")
    monkeypatch.setenv("FORWARDER_BROKER_PASSWORD", SECRET)
    (problem,) = problems_of(BrokerSettings, env_file=env_file)
    assert (problem.source, problem.line, problem.key) == (str(env_file), 2, "FORWARDER_BROKER_PASSWORD")
    assert "both" in problem.message


@pytest.mark.parametrize(("content", "fault"), [(None, "cannot be read"), ("\n", "is empty"), (b"\xff", "not UTF-8")])
def test_a_secret_file_that_is_no_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: object, fault: str
) -> None:
    path = tmp_path / "password"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else str(content).encode())
    monkeypatch.setenv("FORWARDER_BROKER_PASSWORD_FILE", str(path))
    (problem,) = problems_of(BrokerSettings)
    assert problem.key == "FORWARDER_BROKER_PASSWORD_FILE"
    assert fault in problem.message


def test_only_secrets_have_a_file_variant(env_file: Path) -> None:
    env_file.write_text("FORWARDER_BROKER_URL_FILE=/x\n")
    (problem,) = problems_of(BrokerSettings, env_file=env_file)
    assert (problem.key, problem.hint) == ("FORWARDER_BROKER_URL_FILE", "did you mean FORWARDER_BROKER_URL?")


def test_a_validator_that_quotes_a_secret_does_not_spill_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORWARDER_BROKER_PASSWORD", f"bad-{SECRET}")
    (problem,) = problems_of(BrokerSettings)
    assert problem.message == "the password *** is bad"


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
def test_no_value_of_a_secret_is_ever_shown(value: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FORWARDER_ADMIN_TOKEN", f"{SECRET}{value}{SECRET}")
        patch.setenv("FORWARDER_HTTP_PORT", "x")
        problems_of(Settings)


def test_aws_keys_of_the_file_reach_botocore(env_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env_file.write_text("AWS_REGION=eu-west-1\nAWS_PROFILE=file\nAWS_CA_BUNDLE=\nFORWARDER_X=1\nHOME=/x\n")
    monkeypatch.setenv("AWS_PROFILE", "environment")
    before = dict(os.environ)
    monkeypatch.setattr(os, "environ", environment := dict(os.environ))
    export_aws(env_file)
    assert environment == before | {"AWS_REGION": "eu-west-1"}


def test_the_table_is_complete() -> None:
    table = settings_table([Settings, BrokerSettings])
    assert "| `FORWARDER_ORGANIZATION_ID` | required |" in table
    assert "| `FORWARDER_SPOOL_MAX_BYTES` | `10GiB` |" in table
    assert "| `FORWARDER_EVENT_ID` | `true` |" in table
    assert (
        "| `FORWARDER_BROKER_PASSWORD` |  | The broker's password. Also by file: `FORWARDER_BROKER_PASSWORD_FILE`. |"
        in table
    )
    for name, field in Settings.model_fields.items():
        assert (field.description or "").endswith("."), name


def test_the_example_shows_every_setting_with_its_default(tmp_path: Path) -> None:
    plugins = [*(load_intake(name).settings for name in INTAKES), *(load_sink(name).settings for name in SINKS)]
    example = (Path(__file__).parents[2] / "config/forwarder.env.example").read_text(encoding="utf-8")
    shown = dict(re.findall(r"^#?(FORWARDER_\w+)=(.*)$", example, re.MULTILINE))
    defaults = dict(re.findall(r"^\| `(\w+)` \| `?(.*?)`? \|", settings_table([Settings, *plugins]), re.MULTILINE))
    assert shown == {name: "" if default == "required" else default for name, default in defaults.items()}
    path = tmp_path / "forwarder.env"
    path.write_text(example.replace("FORWARDER_ORGANIZATION_ID=", "FORWARDER_ORGANIZATION_ID=acme"), encoding="utf-8")
    load_all([Settings, load_intake("file").settings], path)
