"""What a study.yaml may hold: claims as rows, their contenders, how they are searched and judged, at which scales."""

import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from steepest.config import conf_dir
from steepest.errors import ConfigError, did_you_mean, listed, near, shown

Scale = Literal["smoke", "small", "full"]
SCALES: tuple[Scale, ...] = ("smoke", "small", "full")

FIRST_EVALUATION_SEED = 1000
"""Evaluation seeds count from here and tuning seeds from 0, so that no run is in both."""


class Part(BaseModel):
    """A mapping with these keys and no other."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


def _rising(bounds: tuple[float, float]) -> tuple[float, float]:
    if not bounds[0] < bounds[1]:
        raise ValueError("the first must be below the second")
    return bounds


Text = Annotated[str, Field(min_length=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")]
"""Of a row or a contender: it is part of overrides and of file names."""
Number = Annotated[float, Field(strict=False, allow_inf_nan=False)]  # PyYAML reads 1e-4 as text
Overrides = Annotated[tuple[str, ...], Field(strict=False)]
Keys = Annotated[tuple[str, ...], Field(strict=False)] | Literal["all"]
Range = Annotated[tuple[Number, Number], Field(strict=False), AfterValidator(_rising)]
Choices = Annotated[tuple[Any, ...], Field(strict=False, min_length=1)]

TUNED_ELSEWHERE = ("experiment", "tuned", "recommended", "init_from")
OF_THE_STUDY = ("seed", "study", "test", "force", "paths", "run", "choices", "hydra")
"""What no claim may set: the first bring what other searches found, the others are the study's own."""


class Contender(Part):
    """One side of a comparison: an optimizer with its space, or anything else that overrides can say."""

    name: Name
    overrides: Overrides = ()
    optimizer: str | None = None
    """Whose search space it has; None: that of the override `optimizer=`."""
    keys: Keys | None = None
    """What of the space is searched; None: as the row says."""
    ranges: Mapping[str, Range] = {}
    """Ranges in place of the space's own. They define the contender: nothing is widened beyond them."""


class Search(Part):
    """How settings are found: as many trials for every contender, and as many in reserve."""

    keys: Keys = ("lr",)
    choices: Mapping[str, Choices] = {}
    """Overrides of which each trial takes one value, the same for all contenders: {schedule: [cosine, step]}."""
    sampler: Literal["grid", "sobol"] = "grid"
    trials: int = Field(default=5, ge=1)
    reserve: int = Field(default=2, ge=0)
    seeds: int = Field(default=1, ge=1)
    repeats: int = Field(default=1, ge=1)
    """How often the whole search is repeated, with other seeds."""


class Row(Part):
    """One claim, as it is run at one scale."""

    name: Name
    claim: Text
    condition: Text
    recommended: Text
    contenders: tuple[Contender, ...] = Field(min_length=2, strict=False)
    base: Overrides = ()
    metric: Text
    direction: Literal["max", "min"]
    select: Text
    """The validation metric that picks settings; of the same direction as `metric`."""
    worst: Number
    """What a diverged run counts as."""
    margin: Number = Field(ge=0)
    model: Literal["last", "best"] = "last"
    target: Number | None = None
    """Of `select`: when a run reaches it is its time to target."""
    typical: Range | None = None
    """The specification's typical range of the recommended learning rate, a label."""
    search: Search = Search()
    seeds: int = Field(default=8, ge=2)
    unreachable: Text | None = None
    """Why this scale cannot reach the condition: then nothing is decided."""

    @model_validator(mode="after")
    def whole(self) -> "Row":
        """Names are there once, and the recommended one among them; no value that was tuned elsewhere gets in."""
        names = [contender.name for contender in self.contenders]
        if self.recommended not in names:
            raise ConfigError(
                f"rows.{self.name}.recommended={shown(self.recommended)} is no contender; allowed are {listed(names)}."
            )
        if len(set(names)) < len(names):
            raise ConfigError(f"rows.{self.name}.contenders={shown(names)} is not possible; allowed are unlike names.")
        words = [*self.base, *(word for contender in self.contenders for word in contender.overrides)]
        for word in (*words, *self.search.choices):
            group = re.split(r"[=@./\[]", word.strip().lstrip("+~"))[0]
            if group in (*TUNED_ELSEWHERE, *OF_THE_STUDY):
                why = "brings values that were tuned elsewhere" if group in TUNED_ELSEWHERE else "is the study's"
                raise ConfigError(f"rows.{self.name}: {word} is not possible, since it {why}; allowed are other keys.")
        for key, choices in self.search.choices.items():
            if any(choices.count(one) > 1 for one in choices):
                where = f"rows.{self.name}.search.choices.{key}"
                raise ConfigError(f"{where}={shown(choices)} is not possible; allowed are unlike values.")
        return self

    @cached_property
    def sign(self) -> int:
        """What makes larger values the better ones."""
        return 1 if self.direction == "max" else -1

    @cached_property
    def evaluation_seeds(self) -> range:
        """Disjoint from all tuning seeds."""
        return range(FIRST_EVALUATION_SEED, FIRST_EVALUATION_SEED + self.seeds)

    @property
    def selected_by(self) -> str:
        """The name of the metric that ranks trials: of the model that the row compares."""
        return f"best/{self.select}" if self.model == "best" else self.select

    def tuning_seeds(self, repeat: int) -> range:
        """Of one search; every repeat has its own."""
        return range(repeat * self.search.seeds, (repeat + 1) * self.search.seeds)

    def contender(self, name: str) -> Contender:
        """The one of that name."""
        return next(one for one in self.contenders if one.name == name)


class Study(Part):
    """A study at one scale."""

    name: Text
    scale: Scale
    question: Text
    source: Text
    rows: tuple[Row, ...] = Field(strict=False)


def experiments_dir() -> Path:
    """The `experiments/` folder: inside an installed package, or beside `src/` in a checkout."""
    return conf_dir().parent / "experiments"


def studies(experiments: Path | None = None) -> list[str]:
    """The names of all studies."""
    return sorted(file.parent.name for file in (experiments or experiments_dir()).glob("*/study.yaml"))


def study_file(name: str, experiments: Path | None = None) -> Path:
    """The file of a study: of that name, or the path itself of a study.yaml. Results are published beside it."""
    inside = (experiments or experiments_dir()) / name / "study.yaml"
    return Path(name).absolute() if name.endswith(".yaml") else inside


def load_study(name: str, scale: str, rows: list[str] | None = None, experiments: Path | None = None) -> Study:
    """The study of that name at a scale.

    A row's values are those of the study's `common`, of the scale there, the row's own, and of the scale there: later
    ones win, mappings key by key, and lists of overrides (`base`) are added up. A contender may be the bare name of an
    optimizer.

    Args:
        name: of a folder in `experiments/`, or the path of a study.yaml.
        scale: smoke, small or full.
        rows: names of the rows wanted; None: all.
        experiments: the folder of studies.

    Raises:
        ConfigError: an unknown study, scale or row, or a file that is not as it should be.
    """
    file = study_file(name, experiments)
    if not file.is_file():
        known = studies(experiments)
        meant = did_you_mean(near(name, known))
        raise ConfigError(f"study={shown(name)} is unknown;{meant} allowed are {listed(known or ['none'])}.")
    if scale not in SCALES:
        raise ConfigError(f"scale={shown(scale)} is unknown; allowed are {listed(SCALES)}.")
    try:
        raw = yaml.safe_load(file.read_text())
    except yaml.YAMLError as error:
        raise ConfigError(f"{file} cannot be read ({str(error).splitlines()[0]}); allowed is YAML.") from None
    if not isinstance(raw, dict) or not isinstance(raw.get("rows"), dict) or not raw["rows"]:
        raise ConfigError(f"{file}: rows is missing; allowed is a mapping of names to rows.")
    known = [*raw["rows"]]
    for row in rows or []:
        if row not in known:
            meant = did_you_mean(near(row, known))
            raise ConfigError(f"rows={shown(row)} is unknown;{meant} {file.parent.name} has {listed(known)}.")
    common = raw.pop("common", {})
    wanted = [row for row in known if not rows or row in rows]
    content = {"rows": [_row(row, common, raw["rows"][row], scale) for row in wanted]}
    try:
        return Study.model_validate({**raw, **content, "name": file.parent.name, "scale": scale})
    except ValidationError as error:
        raise ConfigError(_sentence(error, file, content["rows"])) from None


def _row(name: str, common: Any, own: Any, scale: str) -> dict[str, Any]:
    """The values of a row at a scale, merged."""
    merged: dict[str, Any] = {"name": name}
    where = f"rows.{name}"
    for layer in (*_layers("common", common, scale), *_layers(where, own, scale)):
        for key, value in layer.items():
            if key == "scales":
                continue
            if key == "base":
                merged[key] = [*merged.get(key, []), *_list(f"{where}.base", value)]
            elif isinstance(value, Mapping) and isinstance(merged.get(key, {}), Mapping):
                merged[key] = {**merged.get(key, {}), **value}
            else:
                merged[key] = value
    contenders = _list(f"{where}.contenders", merged.get("contenders", []))
    merged["contenders"] = [_contender(where, one) for one in contenders]
    return merged


def _layers(where: str, layer: Any, scale: str) -> list[Mapping[str, Any]]:
    """The values of a layer at all scales, and at one."""
    scales = layer.get("scales", {}) if isinstance(layer, Mapping) else {}
    for place, node in ((where, layer), (f"{where}.scales", scales)):
        if not isinstance(node, Mapping):
            raise ConfigError(f"{place}={shown(node)} is not possible; allowed is a mapping.")
    for name, node in scales.items():
        if name not in SCALES:
            meant = did_you_mean(near(str(name), SCALES))
            raise ConfigError(f"{where}.scales.{name} is unknown;{meant} allowed are {listed(SCALES)}.")
        if not isinstance(node, Mapping):
            raise ConfigError(f"{where}.scales.{name}={shown(node)} is not possible; allowed is a mapping.")
    return [layer, scales.get(scale, {})]


def _list(where: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ConfigError(f"{where}={shown(value)} is not possible; allowed is a list.")
    return value


def _contender(where: str, given: Any) -> Any:
    """A bare name is an optimizer of the configuration, with all its defaults."""
    if isinstance(given, str):
        return {"name": given, "overrides": [f"optimizer={given}"]}
    if isinstance(given, dict) and isinstance(given.get("optimizer"), str):
        words = _list(f"{where}.contenders.overrides", given.get("overrides", []))
        rest = [f"optimizer={given['optimizer']}", *words]
        return {"name": given["optimizer"], **given, "overrides": rest}
    return given


def _sentence(error: ValidationError, file: Path, rows: list[dict[str, Any]]) -> str:
    """What pydantic found, in our words."""
    first = error.errors()[0]
    if isinstance(said := first.get("ctx", {}).get("error"), ConfigError):
        return f"{file.parent.name}/study.yaml: {said}"
    place = [*first["loc"]]
    if len(place) > 1 and place[0] == "rows":
        place[1] = rows[int(place[1])]["name"]
    value = f"={shown(first['input'])}" if first["type"] not in ("missing", "extra_forbidden") else ""
    what = {"missing": "is missing", "extra_forbidden": "is unknown"}.get(first["type"], "is not possible")
    return f"{file.parent.name}/study.yaml: {'.'.join(map(str, place))}{value} {what} ({first['msg']})."
