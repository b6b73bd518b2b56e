"""What the artist chose, kept between sessions in Krita's own settings file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from krita_diffbmp.problem import Background, Device, Freeze, Settings

Form = Literal["live", "painted"]
GROUP = "krita_diffbmp"  # the section of kritarc
REFINE = "refine_"  # what the keys of a refinement's choices begin with
LIMIT = 2**31  # what the fields of the form take
CHOICES: dict[str, tuple[str, ...]] = {
    "background": get_args(Background),
    "device": get_args(Device),
    "form": get_args(Form),
}
LABELS = 8  # colours that Krita has for layers
RANGES = {"refine_freeze": (0, int(Freeze.ALL)), "refine_label": (0, LABELS)}


@dataclass(frozen=True)
class RefineChoices:
    """What the artist chooses for refinements."""

    steps: int = 100
    freeze: int = 0  # of Freeze: what stays as it is
    selected_only: bool = False  # that holds for the selected layers; for all otherwise
    label: int = 0  # layers with this colour label of Krita's (1 to 8) are frozen; 0: none are for their label
    replace_deleted: bool = False
    add: int = 50  # instances that "Add" adds
    thin: float = 10.0  # percent of the instances that "Thin out" takes away


@dataclass(frozen=True)
class Choices:
    """Everything in the docker's forms: the engine's settings and the form of the layers."""

    settings: Settings = field(default_factory=Settings)
    form: Form = "live"
    advanced: bool = False  # the advanced settings are unfolded
    refine: RefineChoices = field(default_factory=RefineChoices)


def flat(choices: Choices) -> dict[str, Any]:
    refine = {REFINE + name: value for name, value in asdict(choices.refine).items()}
    return {**asdict(choices.settings), "form": choices.form, "advanced": choices.advanced, **refine}


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
    if name in RANGES:
        low, high = RANGES[name]
        return value if low <= value <= high else default
    return value if abs(value) < LIMIT else default


def load(read: Callable[[str, str, str], str]) -> Choices:
    """`read(section, key, default)` is Krita's readSetting."""
    values = {}
    for name, default in flat(Choices()).items():
        text = read(GROUP, name, "")
        values[name] = parsed(name, text, default) if text else default
    refine = {name: values.pop(name) for name in list(values) if name.startswith(REFINE)}
    form, advanced = values.pop("form"), values.pop("advanced")
    chosen = RefineChoices(**{name.removeprefix(REFINE): value for name, value in refine.items()})
    return Choices(Settings(**values), form, advanced, chosen)


def save(write: Callable[[str, str, str], None], choices: Choices, previous: Choices | None = None) -> None:
    """`write(section, key, value)` is Krita's writeSetting; only what differs from `previous` is written."""
    old = flat(previous) if previous else {}
    for name, value in flat(choices).items():
        if name not in old or old[name] != value:
            write(GROUP, name, str(value).lower() if isinstance(value, bool) else str(value))
