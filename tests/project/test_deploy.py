"""What is in deploy/: the flags are flags, the settings are settings, and the unit is one that systemd takes."""

from __future__ import annotations

import configparser
import json
import re
import shutil
import subprocess
from pathlib import Path

import click
import pytest
import yaml

from command_line import EVERYTOKEN
from everytoken.cli import commands
from everytoken.gateway import Config
from everytoken.gateway.checking import check
from everytoken.gateway.config import unknown_variables

DEPLOY = Path(__file__).parents[2] / "deploy"
UNIT = (DEPLOY / "systemd" / "everytoken.service").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
CONTAINERFILE = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
INSTALLED = "/opt/everytoken/bin/everytoken"


def checked(words):
    """Have click read a command line of ours without running it."""
    name, *rest = words
    command = commands.get_command(click.Context(commands), name)
    return command.make_context(name, list(rest)).params


def unit():
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    parser.read_string(UNIT)
    return parser["Service"]


def test_systemd_takes_the_unit(tmp_path):
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed")
    path = tmp_path / "everytoken.service"
    path.write_text(UNIT.replace(INSTALLED, EVERYTOKEN), encoding="utf-8")
    done = subprocess.run(
        [program, "verify", "--man=no", str(path)], capture_output=True, text=True, timeout=20, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_unit_runs_commands_that_there_are():
    service = unit()
    for name in ("ExecStart", "ExecStartPre"):
        program, *words = service[name].split()
        assert program == INSTALLED
        assert checked(words)
    assert "HUP" in service["ExecReload"]


def test_the_unit_leaves_time_to_drain_and_gives_away_nothing():
    service = unit()
    assert service["KillSignal"] == "SIGTERM"
    assert float(service["TimeoutStopSec"]) > Config().drain + 10
    assert int(service["LimitNOFILE"]) >= 2 * Config().max_connections
    assert {service[name] for name in ("DynamicUser", "NoNewPrivileges", "ProtectHome", "PrivateTmp")} == {
        "yes"
    }
    assert service["ProtectSystem"] == "strict"
    names = re.findall(r"^Environment=(EVERYTOKEN_\w+)=", UNIT, re.MULTILINE)
    credentials = re.findall(r"^LoadCredential=([\w-]+):", UNIT, re.MULTILINE)
    assert names
    assert unknown_variables(dict.fromkeys(names, "x")) == []
    assert all(name in credentials for name in re.findall(r"%d/([\w-]+)", UNIT))


def test_the_image_runs_a_command_that_there_is():
    lines = re.sub(r"\\\n\s*", "", CONTAINERFILE)
    [entry] = re.findall(r"^ENTRYPOINT (.*)$", lines, re.MULTILINE)
    [command] = re.findall(r"^CMD (.*)$", lines, re.MULTILINE)
    assert json.loads(entry) == ["everytoken"]
    assert checked(json.loads(command))["host"] == "0.0.0.0"  # inside a container
    for line in lines.splitlines():
        assert not line or line.split()[0] in {
            *(
                "#",
                "FROM",
                "RUN",
                "USER",
                "ENV",
                "VOLUME",
                "EXPOSE",
                "STOPSIGNAL",
                "HEALTHCHECK",
                "ENTRYPOINT",
                "CMD",
            )
        }, line
    extras = re.search(r"everytoken\[([a-z0-9,]+)\]", CONTAINERFILE)[1].split(",")
    project = (DEPLOY.parent / "pyproject.toml").read_text(encoding="utf-8")
    assert all(re.search(rf"^{extra} = \[", project, re.MULTILINE) for extra in extras)


def test_the_services_have_settings_that_there_are_and_secrets_that_they_name(tmp_path):
    service = COMPOSE["services"]["gateway"]
    assert checked(service["command"])["host"] == "0.0.0.0"
    environ = dict(service["environment"])
    assert unknown_variables(environ) == []
    assert set(service["secrets"]) == set(COMPOSE["secrets"])
    assert set(service["depends_on"]) < set(COMPOSE["services"])
    for name in COMPOSE["secrets"]:
        (tmp_path / name).write_text("sk-0123456789abcdef\n", encoding="utf-8")
    environ = {name: value.replace("/run/secrets", str(tmp_path)) for name, value in environ.items()}
    report = check(None, environ, {"host": "0.0.0.0"})
    assert report.problems == []
    assert report.config is not None
    assert report.config.journal.startswith("redis://redis:")
    assert (
        int(service["stop_grace_period"].removesuffix("s")) > float(checked(service["command"])["drain"]) + 10
    )
    assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).exists()
