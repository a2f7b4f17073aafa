"""The command that makes a manifest of a CSV."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.commands.options import Out, print_result
from training.data.manifest_io import write_manifest
from training.data.own.card_words import write_card_words
from training.data.own.columns import Columns, OptionError, features, lists, pairs
from training.data.own.manifest import Division, OwnManifest, counts, manifest_of_csv
from training.data.validation import check
from training.evaluation.bootstrap import FEWEST_GROUPS


def from_csv(
    file: Annotated[Path, typer.Argument(metavar="FILE.csv", help="UTF-8; its first line names the columns.")],
    out: Out,
    label: Annotated[list[str], typer.Option(metavar="TASK=COLUMN", help="A task and its column; once for each task.")],
    video_column: Annotated[str | None, typer.Option(help="Paths of the clips.")] = None,
    title_column: Annotated[str | None, typer.Option(help="Titles.")] = None,
    overlay_column: Annotated[str | None, typer.Option(help="Text shown in the clip.")] = None,
    flag: Annotated[
        list[str] | None,
        typer.Option(metavar="TASK=VALUE,...", help="Values that raise the flag; not needed for yes and no, 1 and 0."),
    ] = None,
    multilabel: Annotated[
        list[str] | None, typer.Option(metavar="TASK", help="Its cells hold several labels, such as a|b; - means none.")
    ] = None,
    group_column: Annotated[
        str | None, typer.Option(help="What must not straddle splits: an author, a source, a channel.")
    ] = None,
    id_column: Annotated[str | None, typer.Option(help="Names of the rows; else they are numbered.")] = None,
    split_column: Annotated[str | None, typer.Option(help="train, val or test; else rows are split by group.")] = None,
    views_column: Annotated[str | None, typer.Option(help="How often the clip was watched.")] = None,
    privileged: Annotated[
        list[str] | None,
        typer.Option(metavar="GROUP=COLUMN,...", help="What the teacher alone may read; log:COLUMN for counts."),
    ] = None,
    slice: Annotated[
        list[str] | None, typer.Option(metavar="[NAME=]COLUMN", help="Reported apart; many numbers become thirds.")
    ] = None,
    media_root: Annotated[Path | None, typer.Option(help="Where relative paths start; else the CSV's folder.")] = None,
    val: Annotated[float, typer.Option(min=0.01, max=0.49, help="Share of rows to calibrate on.")] = 0.15,
    test: Annotated[float, typer.Option(min=0.01, max=0.49, help="Share of rows to test on.")] = 0.2,
    folds: Annotated[int, typer.Option(min=0, help="Folds instead: every row is tested once. 0 or at least 3.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of the split.")] = 0,
    name: Annotated[str | None, typer.Option(help="Of the manifest; else the CSV's.")] = None,
    delimiter: Annotated[str, typer.Option(help="Between cells.")] = ",",
) -> None:
    r"""Makes a manifest of a CSV by the names of its columns; splits it by group. docs/own-data.md is the guide.

    `python -m training from-csv clips.csv --video-column path --title-column title --label risky=is_risky
    --group-column author --out data/mine`
    """
    if len(delimiter) != 1:
        raise typer.BadParameter("--delimiter is one character")
    if 0 < folds < 3:
        raise typer.BadParameter("--folds is 0 or at least 3")
    try:
        columns = Columns(
            labels=pairs("--label", label),
            video=video_column,
            title=title_column,
            overlay_text=overlay_column,
            group=group_column,
            id=id_column,
            split=split_column,
            views=views_column,
            multilabel=frozenset(multilabel or ()),
            flags=lists("--flag", flag or ()),
            privileged=features(privileged or ()),
            slices=pairs("--slice", slice or (), same=True),
        )
    except OptionError as error:
        raise typer.BadParameter(str(error)) from error
    own = manifest_of_csv(
        file,
        columns,
        media_root or file.parent,
        Division(val, test, folds, seed),
        name=name or file.stem,
        delimiter=delimiter,
    )
    faults = check(own.manifest, check_media=True)
    write_manifest(own.manifest, out)
    words = write_card_words(own.manifest, out)
    warnings = [str(fault) for fault in (*own.warnings, *faults)]
    more = {"card_words": str(words), "warnings": warnings, "no_verdict": _without_verdict(own)}
    print_result(_summary(own, out) | more)


def _summary(own: OwnManifest, out: Path) -> dict[str, object]:
    manifest = own.manifest
    return {
        "manifest": str(out),
        "digest": manifest.digest(),
        "rows": len(manifest.rows),
        "groups": len({row.group for row in manifest.rows}),
        "left_out_unlabelled": own.unlabelled,
        "groups_joined_by_duplicates": own.joined,
        "tasks": {task.name: {"labels": task.labels, "flags": task.flagged_by} for task in manifest.tasks},
        "parts": counts(manifest),
    }


def _without_verdict(own: OwnManifest) -> list[str]:
    """Tasks of which the report will say that there is too little data, and why."""
    said = []
    for task in own.manifest.tasks:
        tested = [row for row in own.manifest.rows if row.split in ("test", None) and task.name in row.labels]
        groups: dict[bool, set[str]] = {True: set(), False: set()}
        for row in tested:
            label = row.labels[task.name]
            labels = {label} if isinstance(label, str) else set(label)
            groups[bool(labels & set(task.flagged_by))].add(row.group)
        for flagged, found in groups.items():
            if len(found) < FEWEST_GROUPS:
                rows = "rows that raise the flag" if flagged else "rows that do not raise it"
                message = f"{task.name}: tested {rows} stand in {len(found)} groups, a verdict needs {FEWEST_GROUPS}"
                said.append(f"{message}{'' if own.manifest.folds else ': more groups, a larger --test, or --folds'}")
    return said
