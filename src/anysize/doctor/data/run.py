"""From a folder to its report, page and sheet."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from anysize.console import Bar
from anysize.data.masks.rules import mask_rules
from anysize.data.options import DataOptions
from anysize.data.source import DataSource, load_data
from anysize.doctor.config import DoctorConfig
from anysize.doctor.data.checks import all_checks
from anysize.doctor.data.copies import find_copies
from anysize.doctor.data.gather import chosen_rows, look_at_all
from anysize.doctor.data.laying import lay_on_each_other
from anysize.doctor.data.overlays import draw_sheet
from anysize.doctor.data.report import DataReport
from anysize.doctor.data.survey import Part, Survey
from anysize.doctor.finding import Finding, most_severe_first
from anysize.errors import UsageError

__all__ = ["BarOf", "check_data", "output_folder", "survey_data"]

_PAGE, _SHEET = "doctor.html", "overlays.png"
BarOf = Callable[[str, int], AbstractContextManager[Bar]]
"""Opens a progress bar: label, total."""


def check_data(config: DoctorConfig, bar: BarOf) -> DataReport:
    """Look at the data set ``config.what``, run every check, and write the sheet and the page; nothing in it changes.

    Args:
        config: see `DoctorConfig`.
        bar: shows progress.

    Raises:
        LayoutError: the data are in no known layout, or contradict it.
        UsageError: the output folder would lie in the data.
    """
    root = Path(config.what or "")
    folder = output_folder(root, config.output)
    survey, source = survey_data(config, bar)
    findings = [finding for check in all_checks() for finding in check.run(survey)]
    report = DataReport(survey=survey, findings=tuple(most_severe_first(findings)), strict=config.strict)
    with bar("drawing", 0):
        sheet = folder / _SHEET
        drawn = draw_sheet(
            sheet,
            survey,
            source.coding,
            title=_title(survey),
            max_image_pixels=config.max_image_pixels,
        )
        report = replace(report, sheet=sheet if drawn else None, page=folder / _PAGE)
        from anysize.doctor.page import write_page

        write_page(folder / _PAGE, report)
    return report


def _title(survey: Survey) -> str:
    counts = " and ".join(f"{len(part.table):,} in {part.name}" for part in survey.parts)
    return f"{survey.root.resolve().name}: {counts}"


def survey_data(config: DoctorConfig, bar: BarOf) -> tuple[Survey, DataSource]:
    """Read the tables, and look at the files."""
    root = Path(config.what or "")
    options = DataOptions(
        val_split=config.val_split, max_image_pixels=config.max_image_pixels, masks=mask_rules(config)
    )
    with bar("reading sizes", 0) as reading:
        source = load_data(root, options, progress=reading.set, raise_unreadable=False, raise_mask_problems=False)
    parts = tuple(
        Part(name=name, table=table, census=census)
        for name, table, census in (
            ("train", source.train, source.train_census),
            ("val", source.val, source.val_census),
        )
        if table is not None
    )
    cap = config.max_image_pixels
    with bar("looking at images", 0) as looking:
        looked = look_at_all(chosen_rows(parts, config.max_images), max_image_pixels=cap, progress=looking.set)
    with bar("looking for copies", 0) as comparing:
        copies = find_copies(parts, looked.seen, looked.pairs, comparing.set)
    laid: tuple[Finding, ...] = ()
    num_laid = 0
    if source.coding is not None and parts:
        own = [pair for pair in looked.pairs if pair.part == parts[0].name]
        with bar("laying masks on images", 0):
            laid, num_laid = lay_on_each_other(
                parts[0], own, source.coding, data=root, rules=options.masks, max_image_pixels=cap
            )
    model = None
    if config.model is not None:
        from anysize.doctor.data.needs import needs_of  # loads torch

        model = needs_of(config.model, config.model_kwargs, len(source.classes))
    survey = Survey(
        root=source.root,
        file=root if root.is_file() else None,
        layout=source.layout,
        task="none" if source.train.labels is None and source.coding is None else source.task,
        classes=source.classes,
        coding=source.coding,
        rules=options.masks,
        palette=source.palette or (),
        parts=parts,
        has_own_split=source.has_own_split,
        seen=looked.seen,
        pairs=looked.pairs,
        unreadable=(*source.problems, *looked.unreadable),
        mask_problems=source.mask_problems,
        unused=source.ignored,
        notes=source.notes,
        copies=copies,
        pairing=laid,
        num_paired=num_laid,
        model=model,
    )
    return survey, source


def output_folder(root: Path, output: Path | None) -> Path:
    """Where the page and the sheet go: as asked, or doctor-NAME in the working folder.

    Raises:
        UsageError: it lies in the data, which stay as they are.
    """
    name = root.resolve().stem if root.is_file() else root.resolve().name
    folder = Path(f"doctor-{name or 'data'}") if output is None else output
    data = root.resolve().parent if root.is_file() else root.resolve()
    if not root.is_file() and folder.resolve().is_relative_to(data):
        raise UsageError(
            f"the report would be written to {folder}, within the data {root}, which doctor leaves as they are",
            hint=f"--output {data.parent / f'doctor-{data.name}'}",
        )
    return folder
