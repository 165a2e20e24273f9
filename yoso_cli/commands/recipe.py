"""`yoso recipe`: list, show, check, copy and make recipes."""

import shlex
from pathlib import Path

import click

from yoso_cli.commands import console
from yoso_cli.commands.options import datasets_option, force_option, json_option, set_option
from yoso_cli.errors import RecipeError, UsageError
from yoso_cli.runtime.words import counted


@click.group()
def command() -> None:
    """List, show, check, copy and make recipes.

    A recipe is a YAML file that states how a training differs from YOSO-R50 on COCO. A bare name is a packaged recipe;
    a path is your own file.
    """


@command.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the packaged recipes, with the paper's PQ.

    \b
    Example:
      yoso recipe list
    """
    from yoso_cli.recipe import file as recipe_file

    rows = [(name, recipe_file.read(path)) for name, path in recipe_file.packaged()]
    found = [{"name": name, "description": one.description, "paper_pq": one.paper.pq} for name, one in rows]
    lines = [(name, one.paper.pq, one.description) for name, one in rows]
    text = console.table(("recipe", "paper PQ", "what it is"), lines)
    console.result({"recipes": found}, text, as_json)
    if not as_json:
        console.next_step("yoso recipe show coco")


@command.command()
@click.argument("recipe")
@set_option
@json_option
def show(recipe: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Print all values of RECIPE, with their meanings.

    A value that differs from its default has the default beside it.

    \b
    Example:
      yoso recipe show ablation/ifa
    """
    from yoso_cli.recipe import file as recipe_file

    whole = recipe_file.load(recipe, overrides)
    console.result({"recipe": whole.to_dict()}, recipe_file.to_yaml(whole, comments=True).rstrip("\n"), as_json)


@command.command()
@click.argument("recipes", metavar="RECIPE...", nargs=-1, required=True)
@set_option
@json_option
@click.pass_context
def check(ctx: click.Context, recipes: tuple[str, ...], overrides: tuple[str, ...], as_json: bool) -> None:
    """Check recipes and report all mistakes.

    The exit code is 2 when there is one.

    \b
    Example:
      yoso recipe check mine.yaml recipes/*.yaml
    """
    found = {recipe: _problems(recipe, overrides) for recipe in recipes}
    problems = [problem for one in found.values() for problem in one]
    good = sum(not one for one in found.values())
    summary = f"{len(found)} checked, {good} good, {counted(len(problems), 'mistake')}"
    value = {"checked": len(found), "good": good, "problems": problems}
    console.result(value, "\n".join([*problems, summary]), as_json)
    if problems:
        ctx.exit(2)


def _problems(recipe: str, overrides: tuple[str, ...]) -> list[str]:
    from yoso_cli.api.training_parts import require_backbone
    from yoso_cli.recipe import file as recipe_file

    try:
        loaded = recipe_file.load(recipe, overrides)
        # Others need no look, which takes seconds for torch.
        if loaded.model.backbone.startswith("timm:"):
            require_backbone(loaded)
    except RecipeError as error:
        return error.problems
    except UsageError as error:
        return [str(error)]
    return []


@command.command()
@click.argument("recipe")
@click.argument("destination", type=click.Path(path_type=Path), required=False)
@force_option
@json_option
def copy(recipe: str, destination: Path | None, force: bool, as_json: bool) -> None:
    """Copy RECIPE, to edit it.

    DESTINATION is a file or a folder, by default the current folder.

    \b
    Example:
      yoso recipe copy coco mine.yaml
    """
    from yoso_cli.atomic import write_bytes
    from yoso_cli.recipe import file as recipe_file

    source = recipe_file.find(recipe)
    target = _target(source, destination or Path())
    if target.exists() and (not force or target.samefile(source)):
        what = "is the recipe itself" if target.samefile(source) else "exists already"
        raise UsageError(f"{target}: {what}.", hint="Name another file, or overwrite a copy with --force.")
    write_bytes(target, source.read_bytes())
    console.result({"recipe": recipe, "copy": str(target)}, f"{target}", as_json)
    if not as_json:
        console.next_step(f"yoso train {target}")


@command.command()
@click.argument("name")
@click.option("--for", "dataset", required=True, metavar="SET", help="The prepared split to train on.")
@click.option(
    "--val", metavar="SET", show_default="the one beside it that begins with val", help="The split to evaluate on."
)
@click.option(
    "--gpu",
    type=click.FloatRange(0),
    metavar="GIB",
    show_default="this machine's",
    help="Size it to a GPU of so many GiB; 0 for a CPU.",
)
@datasets_option
@force_option
@json_option
def new(name: str, dataset: str, val: str | None, gpu: float | None, root: Path, force: bool, as_json: bool) -> None:
    """Write a recipe NAME.yaml, sized to your dataset and machine.

    Proposals, sizes and the number of steps come from the dataset (`yoso dataset size`), backbone, batch and workers
    from the machine. Every value has its reason beside it; what is not written is as in the recipe coco, or without a
    GPU as in few, a small network that learns from random weights.

    \b
    Example:
      yoso recipe new mine --for datasets/mine/train
      yoso recipe new mine --for mine --gpu 24
    """
    from yoso_cli.api.new_recipe import new_recipe
    from yoso_cli.atomic import write_text

    target = _named(Path(name))
    if target.is_dir() or (target.exists() and not force):
        raise UsageError(f"{target}: exists already.", hint="Name another file, or overwrite it with --force.")
    made = new_recipe(target.stem, dataset, val, root=root, gpu=gpu, progress=console.TERMINAL)
    write_text(target, made.text)
    value = {
        "recipe": str(target),
        "values": {one.key: one.value for one in made.values},
        "reasons": {one.key: one.reason for one in made.values if one.reason},
    }
    console.result(value, f"{target}\n\n{made.text.rstrip()}", as_json)
    if not as_json:
        console.next_step(f"yoso train {shlex.quote(str(target))} --dry-run")


def _target(source: Path, destination: Path) -> Path:
    return destination / source.name if destination.is_dir() else _named(destination)


def _named(destination: Path) -> Path:
    """With the suffix of a recipe."""
    return destination if destination.suffix in (".yaml", ".yml") else destination.with_name(f"{destination.name}.yaml")
