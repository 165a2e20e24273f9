"""`yoso bench --suite paper`: the paper's efficiency tables and its Fig. 5, ours beside the printed."""

import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from yoso_cli.commands import console, wiring

if TYPE_CHECKING:
    from yoso_cli.inference.paper import Row

# The paper's networks take seconds each on a CPU.
MOST_REPEATS = 20


def run(device: str, output: Path | None, repeats: int, tables: tuple[str, ...], as_json: bool) -> None:
    """Measures `tables`, or all where there are none, draws Fig. 5 into `output`, and prints.

    Raises:
        RunError: the device is not there, or the folder cannot be written.
    """
    import torch

    from yoso_cli.inference import contours, paper
    from yoso_cli.runtime import machine

    where = wiring.choose_device(device)
    drawn = contours.draw_contours(output) if output else []
    chosen = tuple(table for table in paper.NETWORKS if not tables or table in tables)
    rows = paper.measure(where, repeats=min(repeats, MOST_REPEATS), tell=console.say, tables=chosen)
    value = {
        "rows": [asdict(row) for row in rows],
        "notes": paper.NOTES,
        "contours": [str(path) for path in drawn],
        "device": torch.cuda.get_device_name(where) if where.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "repeats": min(repeats, MOST_REPEATS),
        "machine": machine.describe(),
        "versions": machine.versions(wiring.PACKAGES),
    }
    notes = [textwrap.fill(note, 79, subsequent_indent="  ") for note in paper.NOTES]
    console.result(value, "\n".join([_table(rows), "", *notes, *map(str, drawn)]), as_json)
    console.next_step("yoso bench")


def _table(rows: "list[Row]") -> str:
    columns = ("table", "row", "what", "ours", "paper", "of base", "paper's")
    return console.table(
        columns,
        [
            (
                *(row.table, row.name, row.what),
                # A CPU makes one or two pictures a second.
                f"{row.ours:.{2 if row.ours < 10 else 1}f}",
                row.paper,
                *(f"{row.ours_of_base:.2f}", f"{row.paper_of_base:.2f}"),
            )
            for row in rows
        ],
    )
