"""What the artist chose, kept between sessions in Krita's own settings file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from krita_diffbmp.problem import Background, Device, Settings

Form = Literal["live", "painted"]
GROUP = "krita_diffbmp"  # the section of kritarc
LIMIT = 2**31  # what the fields of the form take
CHOICES: dict[str, tuple[str, ...]] = {
    "background": get_args(Background),
    "device": get_args(Device),
    "form": get_args(Form),
}


@dataclass(frozen=True)
class Choices:
    """Everything in the docker's form: the engine's settings and the form of the layers."""

    settings: Settings = field(default_factory=Settings)
    form: Form = "live"
    advanced: bool = False  # the advanced settings are unfolded


def flat(choices: Choices) -> dict[str, Any]:
    return {**asdict(choices.settings), "form": choices.form, "advanced": choices.advanced}


def parsed(name: str, text: str, default: Any) -> Any:
    """`text` as a value of the type of `default`; the default where it is none, or not one of the choices."""
    if isinstance(default, bool):
        return text == "true"
    if name in CHOICES:
        return text if text in CHOICES[name] else default
    try:
        value = type(default)(text)
    except ValueError:
        return default
    return value if abs(value) < LIMIT else default


def load(read: Callable[[str, str, str], str]) -> Choices:
    """`read(section, key, default)` is Krita's readSetting."""
    values = {}
    for name, default in flat(Choices()).items():
        text = read(GROUP, name, "")
        values[name] = parsed(name, text, default) if text else default
    form, advanced = values.pop("form"), values.pop("advanced")
    return Choices(Settings(**values), form, advanced)


def save(write: Callable[[str, str, str], None], choices: Choices, previous: Choices | None = None) -> None:
    """`write(section, key, value)` is Krita's writeSetting; only what differs from `previous` is written."""
    old = flat(previous) if previous else {}
    for name, value in flat(choices).items():
        if name not in old or old[name] != value:
            write(GROUP, name, str(value).lower() if isinstance(value, bool) else str(value))
