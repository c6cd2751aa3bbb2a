"""`pacslite config`: look at the settings without starting anything."""

from __future__ import annotations

import asyncio

import typer

from pacslite.cli.options import ConfigFile, Sets, Verbose, settings
from pacslite.server.config_toml import default_text, effective_text


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Look at the settings without starting anything.", no_args_is_help=True)
    group.command("check")(check)
    group.command("show")(show)
    group.command("default")(default)
    group.command("conformance")(conformance)
    app.add_typer(group, name="config")


def check(config: ConfigFile = None, sets: Sets = None, verbose: Verbose = False) -> None:
    """Read and check all settings and certificates, as serve would. Says OK, or in one line what is wrong (exit 2)."""
    # Only here: the parts of the server take longer to load than a command like show takes.
    from pacslite.server.parts import server_certificate

    loaded = settings(config, sets)
    for listener in loaded.config.listeners:
        certificate = server_certificate(listener)
        if certificate is not None:
            certificate.context()
    found = loaded.config
    counts = f"listeners: {len(found.listeners)}, peers: {len(found.peers)}, forwarding rules: {len(found.forward)}"
    typer.echo(f"OK: {loaded.file or 'built-in defaults'}, {counts}")


def show(config: ConfigFile = None, sets: Sets = None, verbose: Verbose = False) -> None:
    """Print the settings in force as TOML; where one is not the default, who set it. Passcodes are not shown."""
    loaded = settings(config, sets)
    typer.echo(effective_text(loaded.config, loaded.sources), nl=False)


def default() -> None:
    """Print all settings with their defaults and reasons: the text to begin a settings file with."""
    typer.echo(default_text(), nl=False)


def conformance(config: ConfigFile = None, sets: Sets = None, verbose: Verbose = False) -> None:
    """Print the conformance statement (PS3.2) of a server with these settings, as Markdown."""
    # Only here: it loads the whole server, which the other commands of this group do without.
    from pacslite.server.conformance import conformance_statement

    loaded = settings(config, sets)
    typer.echo(asyncio.run(conformance_statement(loaded.config)), nl=False)
