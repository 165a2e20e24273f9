"""Which split of a source is converted, where it has several: a conversion makes one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from yoso_cli.errors import UsageError, did_you_mean

_ALIASES = {"valid": "val", "validation": "val", "training": "train", "testing": "test"}


@dataclass(frozen=True)
class SplitChoice:
    """What is known about the split that is wanted.

    Attributes:
        asked: as the user named it; None if not at all.
        likely: what the destination is called: `datasets/mine/train` is for `train`.
    """

    asked: str | None = None
    likely: str = ""

    def of(self, there: Sequence[str], where: Path) -> tuple[str, str]:
        """One of the splits that are `there`, and a remark on the others.

        Args:
            there: at least one.
            where: names the source in what is raised.

        Raises:
            UsageError: the one asked for is not there, or there are several and none is named.
        """
        by_name = {_plain(name): name for name in reversed(there)}
        wanted = self.asked or (self.likely if len(there) > 1 else there[0])
        found = wanted if wanted in there else by_name.get(_plain(wanted))
        if found is None:
            problem = f"has no split {wanted!r}, but" if self.asked else "has several splits:"
            near = did_you_mean(wanted, there) if self.asked else ""
            raise UsageError(f"{where}: {problem} {', '.join(there)}.", hint=near or "Name one with --split.")
        others = [name for name in there if name != found]
        remark = f"{where}: the split {found} is converted; there are also {', '.join(others)}" if others else ""
        return found, remark


def _plain(name: str) -> str:
    """`Valid` and `val` are one split."""
    return _ALIASES.get(name.lower(), name.lower())


ANY_SPLIT = SplitChoice()
"""Nothing is known: fine for a source that has one."""
