"""Where options get their values from, and what is refused."""

from __future__ import annotations

import pytest
from cli_world import call

from cleanlab_lite.config import FIELDS, AuditConfig
from cleanlab_lite.errors import ConfigError
from nlclean.options import default_text, flag_names, limits
from nlclean.settings import OptionValue, convert, parse_duration, parse_size, resolve, to_config
from nlclean.terminal import format_duration


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A repository with a working folder below its root."""
    (tmp_path / ".git").mkdir()
    work = tmp_path / "sub" / "work"
    work.mkdir(parents=True)
    monkeypatch.chdir(work)
    return tmp_path


def test_defaults_are_those_of_the_library(project):
    settings = resolve({}, environ={}, cwd=project)
    assert to_config(settings) == AuditConfig()
    assert {setting.origin for setting in settings.values()} == {"default"}


def test_each_source_beats_the_one_below(project):
    work = project / "sub" / "work"
    (project / "pyproject.toml").write_text(
        '[tool.nlclean]\npreset="thorough"\nepochs=1\nseed=1\nbatch-size=1\nworkers=1\n'
    )
    (project / "sub" / "nlclean.toml").write_text("epochs=2\nseed=2\nbatch_size=2\n")
    environ = {"NLCLEAN_EPOCHS": "3", "NLCLEAN_SEED": "3", "NLCLEAN_CACHE_DIR": "/elsewhere", "NLCLEAN_DEVICE": ""}
    settings = resolve({"epochs": "4", "loss": None}, environ=environ, cwd=work)
    assert settings["epochs"] == OptionValue(4, "--epochs")
    assert settings["seed"] == OptionValue(3, "NLCLEAN_SEED")
    assert settings["batch_size"] == OptionValue(2, str(project / "sub" / "nlclean.toml"))
    assert settings["workers"] == OptionValue(1, f"{project / 'pyproject.toml'} [tool.nlclean]")
    assert settings["ensemble"] == OptionValue(10, "preset thorough")
    assert settings["device"] == OptionValue("auto", "default")  # an empty variable counts as unset
    assert list(settings) == ["preset", *FIELDS]
    assert to_config(settings).ensemble == 10


def test_an_explicit_value_beats_the_preset_whatever_its_source(project):
    (project / "pyproject.toml").write_text("[tool.nlclean]\nensemble = 7\n")
    assert resolve({"preset": "thorough"}, environ={}, cwd=project)["ensemble"].value == 7


def test_files_above_the_repository_are_not_read(project):
    inner = project / "sub" / "inner"
    (inner / ".git").mkdir(parents=True)
    (project / "nlclean.toml").write_text("epochs = 9\n")
    assert resolve({}, environ={}, cwd=inner)["epochs"].value == 0


def test_a_pyproject_of_others_does_not_hide_ours_further_up(project):
    (project / "pyproject.toml").write_text("[tool.nlclean]\nepochs = 9\n")
    (project / "sub" / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert resolve({}, environ={}, cwd=project / "sub" / "work")["epochs"].value == 9


@pytest.mark.parametrize("flag", ["epochs", "batch_size", "image_size", "workers"])
def test_a_typed_zero_is_no_choice_and_one_in_a_file_is(project, flag):
    with pytest.raises(ConfigError, match=f"--{flag.replace('_', '-')}: {flag} is 0, must .*; left out it is "):
        resolve({flag: "0"}, environ={}, cwd=project)
    (project / "nlclean.toml").write_text(f"{flag} = 0\n")  # as --show-config writes it
    assert resolve({"max_memory": "0"}, environ={}, cwd=project)[flag].value == 0


def test_all_problems_are_named_at_once(project):
    (project / "nlclean.toml").write_text("epoch = 3\nseed = true\nimage-size = 32.5\nloss = 4\nproxy = ['cnn']\n")
    with pytest.raises(ConfigError) as error:
        resolve({"max_memory": "8 pounds"}, environ={"NLCLEAN_PRESET": "fats", "NLCLEAN_SED": "1"}, cwd=project)
    message = error.value.message
    assert "unknown key 'epoch', did you mean 'epochs'?" in message
    assert "unknown key 'sed', did you mean 'seed'?" in message
    for part in ("seed is True", "image_size is 32.5", "loss is 4", "proxy is ['cnn']", "'8 pounds' is no size"):
        assert part in message
    assert "NLCLEAN_PRESET: preset is 'fats', must be one of fast, balanced, thorough" in message
    assert len(message.splitlines()) == 8


@pytest.mark.parametrize("content", [b"epochs = \n", b"\xff\xfe"])
def test_a_broken_file_is_named(project, content):
    (project / "nlclean.toml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"nlclean\.toml is not valid TOML"):
        resolve({}, environ={}, cwd=project)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("25m", 1500), ("1h30m", 5400), ("1.5h", 5400), ("1H1M1S", 3661), ("42", 42)]
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds
    assert convert("time_budget", text) == seconds


@pytest.mark.parametrize(
    ("text", "gib"),
    [("8GiB", 8), ("8G", 8), ("8g", 8), ("512MiB", 0.5), ("1.5 TiB", 1536), ("2", 2), ("8GB", 8e9 / 2**30)],
)
def test_sizes(text, gib):
    assert parse_size(text) == pytest.approx(gib)


@pytest.mark.parametrize("text", ["", "m", "25x", "30m1h", "-5m", "1h30", "h"])
def test_no_durations(text):
    with pytest.raises(ConfigError, match="is no duration"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["", "GiB", "8XB", "8i", "8B", "-1GiB", "8GiBs"])
def test_no_sizes(text):
    with pytest.raises(ConfigError, match="is no size"):
        parse_size(text)


@pytest.mark.parametrize("seconds", [0.5, 45, 95, 3600 + 300])
def test_durations_are_read_back(seconds):
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(("raw", "value"), [(True, True), (False, False), ("true", True), ("No", False), ("1", True)])
def test_switches(raw, value):
    assert convert("second_split", raw) is value


@pytest.mark.parametrize("raw", ["on", "", 2, [True]])
def test_values_that_are_no_switches(raw):
    with pytest.raises(ConfigError, match=r"second_split is .*, must be true or false"):
        convert("second_split", raw)


def test_a_switch_can_be_turned_on_and_off_again(project, capsys):
    (project / "nlclean.toml").write_text("second_split = true\n")
    for typed, value, origin in (
        ((), "true", str(project / "nlclean.toml")),
        (("--no-second-split",), "false", "--second-split"),
        (("--second-split",), "true", "--second-split"),
    ):
        out = call(capsys, "audit", "--show-config", *typed).out
        (line,) = [line for line in out.splitlines() if line.startswith("second_split")]
        assert line.split(" = ")[1].split("#")[0].strip() == value
        assert line.endswith(origin)


@pytest.mark.parametrize(("name", "raw"), [("planted", "nan"), ("learning_rate", "inf"), ("epochs", "1e3")])
def test_numbers_that_are_none(name, raw):
    with pytest.raises(ConfigError, match=name):
        convert(name, raw)


def test_every_option_of_the_library_has_a_flag_with_help(capsys):
    shown = " ".join(call(capsys, "audit", "--help").out.split())
    for name, option in FIELDS.items():
        assert all(f"{flag} " in shown for flag in flag_names(name))
        assert f"{option.help} [{'; '.join((*limits(option), f'default: {default_text(option)}'))}]" in shown


def test_show_config_prints_origins_and_is_toml(project, capsys, monkeypatch):
    import tomllib

    monkeypatch.setenv("NLCLEAN_DEVICE", "cpu")
    result = call(capsys, "audit", "--show-config", "--time-budget", "25m")
    assert result.code == 0
    assert tomllib.loads(result.out)["time_budget"] == 1500
    comments = {line.split(" = ")[0]: line.split("# ")[1] for line in result.out.splitlines()}
    assert comments["time_budget"] == "--time-budget, in s"
    assert comments["device"] == "NLCLEAN_DEVICE"
    assert comments["loss"] == "default: ce"
    assert comments["epochs"] == f"default: {FIELDS['epochs'].stands_for}"
    assert comments["ensemble"] == "default"
