"""`air`: which command it runs, and what it says of those that it cannot run."""

import pkgutil
import subprocess
import sys

import pytest
from conftest import REPOSITORY

import air_tf
from air_tf import commands
from air_tf.commands import COMMANDS, demo, predict
from air_tf.serving.remote import RemoteModel


@pytest.fixture
def air(monkeypatch, capsys):
    """Runs `air` with flags; returns its exit status and what it printed, on each stream."""

    def run(*flags):
        monkeypatch.setattr(sys, "argv", ["/usr/bin/air", *map(str, flags)])
        try:
            status = commands.main()
        except SystemExit as ended:
            status = ended.code
        return status, *capsys.readouterr()

    return run


def test_each_command_is_a_module_and_a_script():
    assert {module.name for module in pkgutil.iter_modules(commands.__path__)} == set(COMMANDS)
    assert all((REPOSITORY / f"{name}.py").is_file() for name in COMMANDS)


def test_help_and_version_do_not_wait_for_tensorflow():
    program = (
        "import sys; from air_tf.commands import main; main(); sys.exit('tensorflow' in sys.modules)"
    )
    for flag, printed in ("--help", "usage: air COMMAND"), ("--version", air_tf.__version__):
        command = [sys.executable, "-c", program, flag]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
        assert done.returncode == 0 and printed in done.stdout, done.stderr


def test_help_has_a_line_for_each_command(air):
    status, out, err = air("--help")
    assert (status, err) == (0, "")
    listed = [line.split()[0] for line in out.splitlines() if line.startswith("  ")]
    assert listed == list(COMMANDS)


@pytest.mark.parametrize("given", [[], ["trian"], ["--steps", 3], ["a\nb"], ["--help", "train"]])
def test_what_is_no_command_is_one_line(air, given):
    status, out, err = air(*given)
    assert (status, out) == (2, "")
    [line] = err.splitlines()
    assert line.startswith(
        "error: Expected a command: train, evaluate, export, predict, demo. Received: "
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_names_it(air, name):
    status, out, _ = air(name, "--help")
    assert status == 0 and out.startswith(f"usage: air {name} [-h]")


@pytest.mark.parametrize(
    "name, flags",
    [
        ("train", ["--max-objects", 0]),
        ("evaluate", ["--run", "nowhere"]),
        ("evaluate", ["--digits", "embedded"]),
        ("export", ["--run", "nowhere"]),
        ("predict", ["nowhere.png"]),
        ("demo", ["--port", 70_000]),
    ],
)
def test_errors_are_those_of_the_script(air, run_script, tmp_path, monkeypatch, name, flags):
    monkeypatch.chdir(tmp_path)
    status, out, err = air(name, *flags)
    assert status == 2 and err.startswith("error: Expected ") and len(err.splitlines()) == 1
    script = run_script(f"{name}.py", *flags)
    assert (script.returncode, script.stdout, script.stderr) == (status, out, err)


def test_the_exit_status_is_the_commands_own(air, monkeypatch):
    monkeypatch.setattr(predict, "main", lambda config: len(config.images))
    assert air("predict", "a", "b", "c")[0] == 3


def test_a_missing_extra_is_one_line(air, monkeypatch):
    for package in "uvicorn", "tensorflow_serving", "tensorflow_serving.apis":
        monkeypatch.setitem(sys.modules, package, None)
    expected = (
        'error: Expected the package {}, which pip install "air_tf[{}]" installs. Received: none.\n'
    )
    assert air("demo") == (2, "", expected.format("uvicorn", "demo"))
    with pytest.raises(ValueError, match=r'tensorflow_serving.*, which pip install "air_tf\[serve\]"'):
        RemoteModel("127.0.0.1:1")


def test_the_names_of_the_package_are_found_when_they_are_used():
    for name in air_tf.__all__:
        assert getattr(air_tf, name).__name__ == name
    with pytest.raises(AttributeError, match="module 'air_tf' has no attribute 'Air'"):
        _ = air_tf.Air
    assert demo.load is air_tf.load
