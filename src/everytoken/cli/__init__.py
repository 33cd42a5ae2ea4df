"""The command line: one module for each command, named here."""

from __future__ import annotations

import importlib
import sys

import click

from everytoken.errors import EverytokenError

__all__ = ["commands", "main"]

# Each command's module, and its line in the list of commands. A module is imported when it is used, so that
# `everytoken chat` does not load a server.
_COMMANDS = {
    "serve": ("everytoken.cli.serve", "Serve the gateway: an OpenAI-compatible API and a chat page."),
    "chat": ("everytoken.cli.chat", "Ask a language model and show its answer as it arrives."),
    "demo": (
        "everytoken.cli.demo",
        "Kill a gateway in the middle of an answer, and count that nothing was lost.",
    ),
    "models": ("everytoken.cli.models", "List the models that a server offers."),
    "conversations": (
        "everytoken.cli.conversations",
        "List the conversations that are kept, and remove them.",
    ),
    "templates": ("everytoken.cli.templates", "List the templates for `everytoken chat -t NAME`."),
    "tail": ("everytoken.cli.tail", "Show a stream from any offset, and follow it to its end."),
    "check": (
        "everytoken.cli.check",
        "Check a configuration: all errors at once, with lines and suggestions.",
    ),
    "config": (
        "everytoken.cli.config",
        "Print an example of a configuration, its JSON Schema, or the one that counts.",
    ),
    "reload": (
        "everytoken.cli.reload",
        "Have a running gateway read its configuration again, as SIGHUP does.",
    ),
    "keys": ("everytoken.cli.keys", "Make, list, revoke and rotate the API keys of callers."),
    "responses": ("everytoken.cli.responses", "List responses, running and ended."),
    "show": ("everytoken.cli.show", "Show one response: its attempts, seams and times."),
    "doctor": (
        "everytoken.cli.doctor",
        "Find out what is wrong on the path to a gateway, and behind it.",
    ),
    "fake-upstream": (
        "everytoken.cli.fake_upstream",
        "Serve a scripted response as OpenAI and Anthropic would, and break it where you choose.",
    ),
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(_COMMANDS[cmd_name][0])
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, about) in _COMMANDS.items()])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="everytoken", prog_name="everytoken")
def commands() -> None:
    """Streamed LLM responses made dependable: every token, exactly once, in order, and never a wrong ending."""


def main() -> None:
    """Run the command line.

    An `EverytokenError` gives one line on standard error and exit status 1. Ctrl-C gives exit status 130 and no message.
    """
    try:
        status = commands(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        status = 130
    except EverytokenError as error:
        click.echo(f"everytoken: {error.message}", err=True)
        status = 1
    sys.exit(status)
