"""Settings of a server from a file, the environment and flags, each stronger than the one before.

pydantic-settings reads the sources; here they are laid over each other, with a record of where each value came from,
and whatever nobody knows is refused with the nearest name that there is.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pydantic import BaseModel, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from inference.contract.errors import PlayfuseError
from inference.settings import ServerSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

PREFIX: Final = "PLAYFUSE_"
FILE_VARIABLE: Final = f"{PREFIX}CONFIG"
DEFAULT: Final = "default"
FOLLOWS: Final = "follows other settings"
_NESTED: Final = "__"
_MAX_QUOTED: Final = 80
_NOT_OURS: Final = re.compile(
    # The folder of the real logs, the file above, what compose fills in, and what clients read.
    rf"{PREFIX}(DATA|CONFIG|ARTIFACT|CLIENT_\w+"
    # Kubernetes gives every container the addresses of the services in its namespace: of one named playfuse as
    # PLAYFUSE_PORT=tcp://…, PLAYFUSE_SERVICE_HOST and so on, of playfuse-eu as PLAYFUSE_EU_….
    r"|(\w+_)?SERVICE_(HOST|PORT(_\w+)?)|(\w+_)?PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_LINK: Final = re.compile(r"(tcp|udp|sctp)://")


class _Sources(ServerSettings, BaseSettings):
    """What pydantic-settings needs to know to read the sources."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid")


class Flag(NamedTuple):
    """An option of the command line that was given.

    Attributes:
        name: as it is typed.
        value: what it sets.
    """

    name: str
    value: object


class Effective(NamedTuple):
    """One setting as it holds.

    Attributes:
        key: dotted, as in the file.
        value: ready to be shown.
        source: where it came from.
    """

    key: str
    value: object
    source: str


@dataclass(frozen=True)
class Configuration:
    """The settings that hold.

    Attributes:
        settings: checked.
        sources: dotted key → where its value came from; what is missing here is a default.
    """

    settings: ServerSettings
    sources: Mapping[str, str]

    def effective(self) -> Iterator[Effective]:
        """Every setting, in the order of the model. Secrets are masked."""
        for key, field_default, value in _leaves(ServerSettings, self.settings):
            source = self.sources.get(key) or (DEFAULT if value == field_default else FOLLOWS)
            yield Effective(key, _shown(value), source)


def load(
    file: Path | None = None,
    flags: Mapping[str, Flag] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Configuration:
    """The settings that hold.

    Args:
        file: TOML with the model's fields as keys, its sections as tables.
        flags: dotted key → what was given; they beat the environment, which beats the file.
        environment: that of this process, unless told. `PLAYFUSE_LIMITS__MAX_BATCH_ROWS` is `limits.max_batch_rows`.

    Raises:
        PlayfuseError: names the source and the key at fault, and the nearest valid one.
    """
    environment = os.environ if environment is None else environment
    values: dict[str, object] = {}
    sources: dict[str, str] = {}
    if file is not None:
        for key, value in _of_file(file).items():
            values[key], sources[key] = value, f"file {file}"
    for key, value in _of_environment(environment).items():
        values[key], sources[key] = value, f"environment {_variable(key)}"
    for key, flag in (flags or {}).items():
        values[key], sources[key] = flag.value, f"flag {flag.name}"
    try:
        settings = ServerSettings.model_validate(_nested(values))
    except ValidationError as error:
        raise _fault(error, values, sources) from error
    return Configuration(settings, sources)


def keys() -> list[str]:
    """Dotted names of all settings, in the order of the model."""
    return [key for key, _, _ in _leaves(ServerSettings, None)]


def _variable(key: str) -> str:
    return PREFIX + key.replace(".", _NESTED).upper()


def _of_file(file: Path) -> dict[str, object]:
    where = f"settings file {file}"
    try:
        with file.open("rb") as stream:
            tomllib.load(stream)
    except OSError as error:
        raise PlayfuseError(where, got=error.strerror or str(error), expected="a readable file") from error
    except (ValueError, RecursionError) as error:  # no TOML, no text, or numbers of thousands of digits
        raise PlayfuseError(where, got=str(error) or "tables too deep", expected="TOML (toml.io)") from error
    values = _flat(TomlConfigSettingsSource(_Sources, toml_file=file)())
    known = keys()
    for key in values:
        if key not in known:
            raise _unknown(where, key, known)
    return values


def _of_environment(environment: Mapping[str, str]) -> dict[str, object]:
    ours = {
        name: value
        for name, value in environment.items()
        if name.startswith(PREFIX) and value and not _NOT_OURS.fullmatch(name) and not _is_link(name, value)
    }
    known = {_variable(key): key for key in keys()}
    for name in ours:
        if name not in known:
            raise _unknown("environment", name, list(known))
    source = EnvSettingsSource(_Sources, env_prefix=PREFIX, env_nested_delimiter=_NESTED, env_ignore_empty=True)
    source.env_vars = {name.lower(): value for name, value in ours.items()}
    return _flat(source())


def _is_link(name: str, value: str) -> bool:
    return name.endswith("PORT") and _LINK.match(value) is not None


def _unknown(where: str, key: str, known: list[str]) -> PlayfuseError:
    quoted = key[:_MAX_QUOTED]
    nearest = difflib.get_close_matches(quoted, known, n=1, cutoff=0.4)
    last = [name for name in known if re.split(r"\.|__|PLAYFUSE_", name)[-1] == re.split(r"\.|__|PLAYFUSE_", key)[-1]]
    guess = (last or nearest or [""])[0]
    return PlayfuseError(
        where,
        got=f"the unknown setting {quoted}",
        expected="settings that `playfuse serve --show-config` lists",
        fix=f"Did you mean {guess}?" if guess else "",
    )


def _fault(error: ValidationError, values: Mapping[str, object], sources: Mapping[str, str]) -> PlayfuseError:
    """The first fault that pydantic found, with the source that brought it."""
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    key = next((name for name in (".".join(path[:end]) for end in range(len(path), 0, -1)) if name in values), "")
    expected = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if key:
        return PlayfuseError(f"{sources[key]}: {key}", got=_quoted(values[key]), expected=expected)
    # Settings that do not go together: which of them came from where.
    section = ".".join(path)
    named = [
        name
        for name in values
        if re.search(rf"\b{re.escape(name.rpartition('.')[2])}\b", expected) or (section and name.startswith(section))
    ]
    where = ", ".join(f"{name} from {sources[name]}" for name in named) or section
    got, _, wanted = expected.partition("expected ")
    return PlayfuseError(
        f"settings ({where})" if where else "settings",
        got=got.rstrip(" ,;"),
        expected=wanted or "settings that go together",
    )


def _quoted(value: object) -> str:
    text = repr(value)
    if "-----BEGIN" in text:
        return "the text of a PEM file"  # a key in the wrong place must not reach a log
    return text if len(text) <= _MAX_QUOTED else text[:_MAX_QUOTED] + "…"


def _leaves(model: type[BaseModel], instance: BaseModel | None, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Dotted key, default and value of every field that is no section."""
    for name, field in model.model_fields.items():
        value = None if instance is None else getattr(instance, name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _leaves(field.annotation, value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field.default, value


def _shown(value: object) -> object:
    """As JSON can hold it; of a secret pydantic shows no more than that there is one."""
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in nested.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _nested(flat: Mapping[str, object]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        *sections, name = key.split(".")
        at = nested
        for section in sections:
            at = at.setdefault(section, {})
        at[name] = value
    return nested
