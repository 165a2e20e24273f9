"""`yoso completion`: scripts with which a shell completes commands and options."""

import click

from yoso_cli.commands import console

_INSTALL = {
    "bash": "yoso completion bash >> ~/.bashrc",
    "zsh": "yoso completion zsh >> ~/.zshrc",
    "fish": "yoso completion fish > ~/.config/fish/completions/yoso.fish",
}


@click.command(name="completion")
@click.argument("shell", type=click.Choice(list(_INSTALL)))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the script with which SHELL completes commands and options.

    \b
    Example:
      yoso completion bash >> ~/.bashrc
      yoso completion zsh >> ~/.zshrc
      yoso completion fish > ~/.config/fish/completions/yoso.fish
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None, "one of click's own"
    click.echo(found(ctx.find_root().command, {}, "yoso", "_YOSO_COMPLETE").source())
    console.say(f"To install it: `{_INSTALL[shell]}`, then open a new terminal.")
