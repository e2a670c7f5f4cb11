"""The experiment file: what it does not allow is refused, and the error says where and what is allowed."""

from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from engine_parts import ROOT
from pydantic import Field
from typer.testing import CliRunner

from curator.artifacts.flags import Flag, flag_words, flags_of, merge_flags
from curator.artifacts.schema import GivenPath, Many, Settings
from curator.cli import options
from curator.cli.running import Commands
from curator.errors import UsageError
from curator.planning.settings import InjectSettings, MaskSettings
from curator.ranking.settings import RankSettings
from curator.settings import Experiment, load_experiment, require

CONFIGS = ROOT / "configs"

RECIPE = """
train:
  n_layers: 2
  d_model: 64
  n_heads: 2
  d_mlp: 64
  vocab_size: 512
  seq_length: 32
  steps: 10
  batch_size: 32
  warmup_steps: 0
"""


def merge(section: Any, **flags: Any) -> Any:
    return merge_flags(type(section), flags, section.given())


def load(tmp_path: Path, text: str) -> Experiment:
    file = tmp_path / "study.yml"
    file.write_text(text)
    return load_experiment(file)


def refusal(tmp_path: Path, text: str) -> str:
    with pytest.raises(UsageError) as error:
        load(tmp_path, text)
    assert str(tmp_path / "study.yml") in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.yml")), ids=lambda file: file.stem)
def test_every_config_of_the_repository_loads(file: Path) -> None:
    experiment = load_experiment(file)
    assert experiment.units and experiment.window and experiment.batch_size


def test_all_the_promised_configs_exist() -> None:
    names = {file.stem for file in CONFIGS.glob("*.yml")}
    assert names >= {"tiny", "smoke", "pythia-14m", "pythia-31m", "pythia-70m", "pythia-160m"}


@pytest.mark.parametrize(
    ("size", "unit", "samples", "count"),
    [
        ("14m", "induction:3.3", 1_024_000, 100_000),
        ("31m", "induction:4.3", 1_228_800, 120_000),
        ("70m", "induction:4.3", 1_024_000, 100_000),
        ("160m", "induction:5.10", 819_200, 80_000),
    ],
)
def test_the_pythia_configs_hold_the_numbers_of_table_4(
    size: str, unit: str, samples: int, count: int
) -> None:
    experiment = load_experiment(CONFIGS / f"pythia-{size}.yml")
    first, last = experiment.window_samples()
    assert (experiment.units, last - first, experiment.mask.count) == ((unit,), samples, count)
    assert experiment.mask.steps == experiment.window


def test_the_tiny_recipe_is_read_as_written() -> None:
    train = load_experiment(CONFIGS / "tiny.yml").train
    assert train is not None
    recipe = train.recipe
    assert (recipe.n_layers, recipe.d_model, recipe.n_heads, recipe.d_mlp) == (2, 64, 2, 64)
    assert (recipe.learning_rate, recipe.warmup_steps, recipe.steps) == (8e-3, 50, 1000)
    assert train.saved_steps == list(range(0, 1001, 50))
    assert not hasattr(recipe, "out")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("rnak: {}", [":1: rnak: unknown key", "did you mean 'rank'?", "corpus"]),
        ("window: [0, 9]\nrank:\n  alhpa: 0.1", [":3: rank.alhpa: unknown key", "'alpha'", "floor"]),
        ("rank:\n  alpha: much", [":2: rank.alpha", "a number", "'much'"]),
        ("rank:\n  alpha: -1", ["rank.alpha: -1.0 is not allowed", "at least 0"]),
        ("rank:\n  alpha: .nan", ["rank.alpha: nan is not allowed"]),
        ("rank:\n  fisher: emprical", ["rank.fisher: unknown value 'emprical'", "did you mean 'empirical'?"]),
        ("rank:\n  fisher: 3", ["rank.fisher: expected one of sampled, empirical, not 3"]),
        ("batch_size: 32.0", ["batch_size: expected a whole number of at least 1, not 32.0"]),
        ("batch_size: true", ["batch_size: expected a whole number", "not True"]),
        ("batch_size: 0", ["batch_size: 0 is not allowed"]),
        ("units: induction:1.2", ["units: expected a list of: text, not 'induction:1.2'"]),
        ("units: [induction:1.2, 3]", ["units[1]: expected text, not 3"]),
        ("window: [450, 200]", ["window: (450, 200) is not allowed", "first < last"]),
        ("window: [450]", ["window: expected", "not [450]"]),
        ("device: gpu", ["device: 'gpu' is not allowed; expected cpu, cuda or cuda:N"]),
        ("dtype: float16", ["dtype: unknown value 'float16'", "bfloat16, float32, float64"]),
        ("rank: 3", ["rank: expected a section with keys of: model, corpus, units, out"]),
        ("probe:\n  min_length: 30", [":2: probe: lengths must satisfy", "30, 20"]),
        ("mask:\n  count: 3\n  percent: 2", ["mask: 'count' and 'percent' exclude each other"]),
        ("mask:\n  percent: 101", ["mask.percent: 101.0 is not allowed", "at most 100"]),
        ("rank:\n  alpha: 1\n  alpha: 2", ["rank.alpha: given twice, in line 3 again"]),
        ("units: [a\nrank: 1", ["not valid YAML"]),
        ("- a\n- b", ["expected a section with keys of: model"]),
        (RECIPE + "  learning_rat: 1", ["train.learning_rat: unknown key", "'learning_rate'"]),
        (RECIPE + "  learning_rate: fast", ["train.learning_rate", "'fast'"]),
        (RECIPE + "  adam_eps: 0", [":12: train.adam_eps: 0.0 is not allowed; expected a number above 0"]),
        ("train:\n  steps: 3", ["train: the key 'n_layers' is missing; expected a whole number"]),
        (RECIPE + "  checkpoint_steps: [ten]", ["train.checkpoint_steps[0]", "{from, to, every}", "'ten'"]),
        (RECIPE + "  checkpoint_steps: [{to: 9, evry: 3}]", ["[0].evry: unknown key", "every"]),
        (RECIPE + "  checkpoint_steps: [{to: 9}]", ["checkpoint_steps[0]: the key 'every' is missing"]),
        (RECIPE + "  checkpoint_steps: [{from: 9, to: 3, every: 1}]", ["'to' (3) lies before 'from' (9)"]),
        (RECIPE + "batch_size: 16", ["batch_size is 16 but train.batch_size is 32"]),
    ],
)
def test_an_error_names_the_field_the_value_and_what_is_allowed(
    tmp_path: Path, text: str, says: list[str]
) -> None:
    message = refusal(tmp_path, text)
    for part in says:
        assert part in message


def test_a_missing_a_binary_and_an_empty_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        load_experiment(tmp_path / "none.yml")
    (tmp_path / "binary.yml").write_bytes(b"\xff\x00")
    with pytest.raises(UsageError, match="not valid YAML"):
        load_experiment(tmp_path / "binary.yml")
    assert load(tmp_path, "") == Experiment()


def test_numbers_with_an_exponent_are_numbers_and_quoted_ones_are_not(tmp_path: Path) -> None:
    assert load(tmp_path, "rank: {alpha: 1e-5, floor: 2E+0}").rank == RankSettings(alpha=1e-5, floor=2.0)
    assert "not '1e-5'" in refusal(tmp_path, "rank: {alpha: '1e-5'}")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("window: 5:2", "not '5:2'"),
        ("batch_size: 1:20", "batch_size: expected a whole number of at least 1, not '1:20'"),
        ("rank: {normalise: on}", "rank.normalise: expected true or false, not 'on'"),
        ("rank: {normalise: No}", "not 'No'"),
        ("batch_size: 1_000", "not '1_000'"),
        ("on: 3", "on: unknown key"),
    ],
)
def test_bare_words_mean_what_yaml_1_2_says(tmp_path: Path, text: str, says: str) -> None:
    """In YAML 1.1 these are 302, 80, true, false and 1000."""
    assert says in refusal(tmp_path, text)


def test_numbers_words_and_dates_of_yaml_1_2(tmp_path: Path) -> None:
    text = (
        "batch_size: 010\nrank: {alpha: 1e-3, floor: 2., normalise: TRUE, out: 2026-11-27, micro_batch: 0x1f}"
    )
    experiment = load(tmp_path, text + "\nunits: [on, 'yes', 1.0:2, ~x]\nmodel: ~\n")
    rank = experiment.rank
    assert (experiment.batch_size, rank.alpha, rank.floor, rank.micro_batch) == (10, 1e-3, 2.0, 31)
    assert rank.normalise is True and rank.out == tmp_path / "2026-11-27"
    assert experiment.units == ("on", "yes", "1.0:2", "~x") and experiment.model is None


def test_relative_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    text = "corpus: data/rows.npy\nmodel: {}\nrank: {{out: /far/away}}\nmask: {{ranking: [r]}}"
    experiment = load(tmp_path, text.format("weights"))
    assert experiment.corpus == tmp_path / "data" / "rows.npy"
    assert experiment.model == str(tmp_path / "weights")
    assert experiment.rank.out == Path("/far/away")
    assert experiment.mask.ranking == (tmp_path / "r",)
    assert load(tmp_path, text.format("./later")).model == str(tmp_path / "later")
    hub = "EleutherAI/pythia-14m@step1000"
    assert load(tmp_path, text.format(hub)).model == hub


def test_checkpoint_ranges_include_both_ends_and_list_each_step_once(tmp_path: Path) -> None:
    train = load(tmp_path, RECIPE + "  checkpoint_steps: [7, 0, {from: 4, to: 10, every: 3}]").train
    assert train is not None and train.saved_steps == [0, 4, 7, 10]


def test_flags_override_the_file_and_none_leaves_it_alone(tmp_path: Path) -> None:
    rank = load(tmp_path, "rank: {alpha: 0.5, floor: 0.25}").rank
    merged = merge(rank, alpha=2, floor=None, out="here")
    assert (merged.alpha, merged.floor, merged.out) == (2.0, 0.25, Path("here"))
    assert merge(Experiment(), units=["induction:1.2"], window=[1, 2]).units == ("induction:1.2",)


@pytest.mark.parametrize(
    ("section", "flags", "says"),
    [
        (RankSettings(), {"micro_batch": 0}, "--micro-batch: 0 is not allowed; expected a whole number"),
        (RankSettings(), {"damping": "meen"}, "--damping: unknown value 'meen'; did you mean 'mean'?"),
        (RankSettings(), {"alhpa": 1.0}, "--alhpa: unknown here; did you mean 'alpha'?"),
        (MaskSettings(), {"percent": 4, "count": 3}, "--count and --percent exclude each other"),
    ],
)
def test_flags_are_held_to_the_same_rules(section: Any, flags: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError) as error:
        merge(section, **flags)
    assert says in str(error.value)


def test_what_a_command_needs_is_asked_for_by_flag_and_key() -> None:
    assert require(RankSettings(out=Path("r")), "out") == Path("r")
    with pytest.raises(UsageError, match=r"'out' is missing: give --out or 'rank.out' in"):
        require(RankSettings(), "out")
    with pytest.raises(UsageError, match=r"--unit or 'units'"):
        require(Experiment(), "units")


def test_an_anchor_that_contains_itself_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "loop.yml"
    file.write_text("x: &a\n  y: *a\n")
    with pytest.raises(UsageError, match="anchor contains itself"):
        load_experiment(file)


def test_the_words_of_settings_leave_nothing_out_that_is_zero() -> None:
    words = flag_words(InjectSettings(after=0, shuffle_seed=0, plan="plan", from_steps=(0, 3)))
    pairs = dict(zip(words[::2], words[1::2]))
    assert (
        pairs.items()
        >= {"--after": "0", "--shuffle-seed": "0", "--plan": "plan", "--from-steps": "0:3"}.items()
    )
    assert "--rows" not in pairs and "--unit" not in pairs


class Server(Settings):
    """What lies within."""

    address: str = "here"
    """Where."""
    key_: Annotated[int, Field(ge=2, lt=9), Flag(name="key")] = 3
    """Which."""
    price: float | None = None
    limit: float | None = None

    def check(self) -> None:
        """A limit needs a price."""
        if self.limit is not None and self.price is None:
            raise ValueError("a 'limit' needs a 'price'")


class Job(Settings):
    """What a command is told."""

    FLAGS = ("whole", "source", "server", "many")

    source: Annotated[GivenPath, Flag(argument=True)]
    """From where."""
    server: Annotated[Server, Flag(flat=True, panel="Server")] = Field(default_factory=Server)
    whole: Annotated[bool | None, Flag(opposite="part", default="as it comes")] = None
    many: Annotated[Many[str], Flag(text="KEY=VALUE")] = ()
    untold: int = 0


def test_a_class_says_which_flags_there_are_in_which_order_and_panel() -> None:
    flags = [(one.name, one.default, one.required, one.flag.panel) for one in flags_of(Job)]
    assert flags == [
        ("whole", "as it comes", False, ""),
        ("source", "", True, ""),
        ("address", "here", False, "Server"),
        ("key", "3", False, "Server"),
        ("price", "", False, "Server"),
        ("limit", "", False, "Server"),
        ("many", "", False, ""),
    ]
    words = flag_words(Job(source="a b", whole=False, many=["x=1"], server=Server(key_=4)))
    assert words == ["a b", "--address", "here", "--key", "4", "--many", "x=1"]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"source": ""}, "SOURCE: expected a path, not ''"),
        (
            {"server": {"key_": 9}},
            "--key: 9 is not allowed; expected a whole number of at least 2 and below 9",
        ),
        ({"server": {"address": "x", "limit": 1.0}}, "a --limit needs a --price"),
        ({"server": {"address": 3, "price": 1.0}, "many": ["x"]}, "--address: expected text, not 3"),
    ],
)
def test_an_error_names_what_was_typed_and_no_more(flags: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError) as error:
        merge_flags(Job, {"source": "a", **flags})
    assert str(error.value) == says


def test_a_command_of_settings_takes_arguments_opposites_and_options_of_its_own() -> None:
    told: list[Any] = []
    app = typer.Typer(cls=Commands)
    app.command("other")(lambda: None)

    @options.stage(app, "job", "job", f"{__name__}:Job")
    def job(
        settings: Job,
        first: Annotated[int, typer.Option()] = 1,
        behind: Annotated[bool, typer.Option("--behind"), options.After("key_")] = False,
    ) -> None:
        told.append((settings.given(), first, behind))

    def said(*words: str) -> str:
        result = CliRunner().invoke(app, ["job", *words])
        assert result.exit_code == 0, result.output
        return result.output

    said("here", "--part", "--many", "a=1", "--many", "b=2", "--key", "5", "--behind")
    said("here", "--whole", "--first", "7")
    given = {"source": Path("here"), "whole": False, "many": ("a=1", "b=2"), "server": Server(key_=5)}
    assert told == [(given, 1, True), ({"source": Path("here"), "whole": True}, 7, False)]
    help = said("--help")
    server = help.partition("Server")[2]
    assert "--behind" in server and "2<=x<9" in server and "--whole" not in server
    assert help.index("--first") < help.index("--whole") and "--untold" not in help
    assert CliRunner().invoke(app, ["job"]).exit_code == 2
