"""`yoso help`: the help of a command."""

import click

from yoso_cli.errors import did_you_mean


@click.command(name="help")
@click.argument("words", nargs=-1, metavar="[COMMAND]...")
@click.pass_context
def command(ctx: click.Context, words: tuple[str, ...]) -> None:
    """Show the help of COMMAND, as its --help does.

    \b
    Example:
      yoso help train
      yoso help weights import
    """
    context = ctx.find_root()
    for word in words:
        found = context.command
        names = found.list_commands(context) if isinstance(found, click.Group) else []
        inner = found.get_command(context, word) if isinstance(found, click.Group) and word in names else None
        if inner is None:
            asked = f"{context.command_path} {word}"
            raise click.UsageError(f"there is no command '{asked}'. {did_you_mean(word, names)}".rstrip(), ctx=context)
        context = click.Context(inner, info_name=word, parent=context)
    click.echo(context.get_help())
