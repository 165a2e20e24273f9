"""All that is wrong with a dataset, told in one go."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from yoso_cli.inspection import whole_set
from yoso_cli.inspection.picture import Examination, Examined
from yoso_cli.inspection.rules import RULES, Finding, Rule, Severity
from yoso_cli.inspection.split import Listed, Split, read_split
from yoso_cli.panoptic.types import PanopticSet
from yoso_cli.runtime import workers
from yoso_cli.runtime.progress import SILENT, Progress, tracked


@dataclass(frozen=True)
class Group:
    """The findings of one code in one split."""

    code: str
    split: str
    findings: tuple[Finding, ...]

    @property
    def rule(self) -> Rule:
        """What they are cases of."""
        return RULES[self.code]


@dataclass(frozen=True)
class Checked:
    """A dataset that was looked at: how many pictures each split has, and the findings in the order of RULES."""

    images: dict[str, int]
    groups: tuple[Group, ...]

    def count(self, severity: Severity) -> int:
        """How many kinds of finding are of that severity."""
        return sum(group.rule.severity is severity for group in self.groups)


def check(splits: Sequence[Split], *, processes: int = 1, progress: Progress = SILENT) -> Checked:
    """Reads every file of every split to the end.

    Args:
        splits: of one dataset.
        processes: that work at a time.
        progress: shows how far it is.
    """
    findings: list[Finding] = []
    sets: list[PanopticSet] = []
    examined: dict[str, list[Examined]] = {}
    complete = True
    for split in splits:
        listed = read_split(split)
        if isinstance(listed, Finding):
            findings.append(listed)
            complete = False
            continue
        complete &= listed.complete
        findings += listed.findings
        sets.append(listed.panoptic_set)
        examined[split.name] = _examine(listed, processes, progress)
        findings += [finding for one in examined[split.name] for finding in one.findings]
        findings += whole_set.class_findings(listed.panoptic_set)
    if complete:
        findings += whole_set.unlisted_files(sets)
    findings += whole_set.split_findings(sets)
    findings += whole_set.content_findings(examined)
    images = {split.name: len(examined.get(split.name, ())) for split in splits}
    return Checked(images, _grouped(findings))


def _examine(listed: Listed, processes: int, progress: Progress) -> list[Examined]:
    found = listed.panoptic_set
    job = Examination(replace(found, records=()), listed.doubtful)
    results = workers.mapped(job, found.records, workers=processes)
    return list(tracked(results, len(found.records), f"checking {found.split}", progress))


def _grouped(findings: Sequence[Finding]) -> tuple[Group, ...]:
    order = {code: place for place, code in enumerate(RULES)}

    def kind(finding: Finding) -> tuple[int, str]:
        return order[finding.code], finding.split

    return tuple(
        Group(cases[0].code, cases[0].split, cases)
        for cases in (tuple(same) for _, same in groupby(sorted(findings, key=kind), key=kind))
    )
