"""Processes that share an evaluation: who does what, and that nobody waits for one that has failed."""

from pathlib import Path

import pytest
import torch.distributed as dist
from training import processes

from yoso_cli.errors import DataError, RunError
from yoso_cli.runtime.distributed import ProcessGroup


def take_turns(rank: int, machine_of: list[int], folder: str) -> None:
    """What process `rank` sees of the others' files when its turn comes, or the error that ends it."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=len(machine_of))
    local_rank = machine_of[:rank].count(machine_of[rank])

    def work() -> list[str]:
        seen = sorted(path.name for path in Path(folder).glob("was-*"))
        Path(folder, f"was-{rank}").touch()
        if Path(folder, "broken").exists():
            raise RunError(f"process {rank}: the server answers 404.")
        return seen

    try:
        said = " ".join(ProcessGroup(rank, len(machine_of), local_rank).leaders_first(work))
    except RunError as error:
        said = error.message
    Path(folder, f"said-{rank}").write_text(said)
    dist.destroy_process_group()


def said(folder: Path, machine_of: list[int]) -> list[str]:
    """What each process says, each on the machine of that number."""
    context = processes.context()
    ranks = range(len(machine_of))
    started = [context.Process(target=take_turns, args=(rank, machine_of, str(folder))) for rank in ranks]
    for one in started:
        one.start()
    for one in started:
        one.join(60)
        assert one.exitcode == 0
    return [(folder / f"said-{rank}").read_text() for rank in ranks]


def test_one_goes_first_then_one_of_each_other_machine_then_the_rest(tmp_path: Path) -> None:
    first, second, other_machine = said(tmp_path, [0, 0, 1])
    assert first == ""
    assert other_machine == "was-0"
    assert second == "was-0 was-2"


def test_the_first_ones_failure_is_everybodys_at_once(tmp_path: Path) -> None:
    """The others do not try for themselves, and do not wait."""
    (tmp_path / "broken").touch()
    assert said(tmp_path, [0, 0]) == ["process 0: the server answers 404."] * 2
    assert not (tmp_path / "was-1").exists()


def test_alone_work_is_just_done() -> None:
    assert ProcessGroup().leaders_first(lambda: 7) == 7
    with pytest.raises(DataError, match="gone"):
        ProcessGroup().leaders_first(_gone)


def _gone() -> None:
    raise DataError("It is gone.")
