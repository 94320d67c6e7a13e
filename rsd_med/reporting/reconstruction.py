"""The reconstructor in the report: its figures beside methods without a prior."""

from rsd_med.reporting.markup import Markup, tag
from rsd_med.reporting.numbers import significant
from rsd_med.reporting.record import RunRecord, number

_TITLES = {"reconstructor": "Reconstructor", "l1_wavelet": "L1 wavelet", "zero_filled": "Zero-filled"}
_COLUMNS = (
    ("psnr", "PSNR", "dB, each scan with its own peak"),
    ("ssim", "SSIM", ""),
    ("coverage", "Covered", "inside, by the 90 % interval"),
    ("rank", "Rank correlation", "of spread with error, inside"),
    ("seconds", "Time", "seconds a scan"),
)


def reconstruction_section(record: RunRecord) -> Markup | None:
    """Tabulate how scans of the reference were reconstructed; None where no reconstructor was measured."""
    rows_of = record.reconstruction()
    if not rows_of:
        return None
    head = tag(
        "tr",
        tag("th", "Method", scope="col"),
        *(tag("th", title, tag("small", note), scope="col") for _, title, note in _COLUMNS),
    )
    rows = [
        tag(
            "tr",
            tag("th", _TITLES.get(name, name), scope="row"),
            *(tag("td", significant(number(figures, key))) for key, _, _ in _COLUMNS),
        )
        for name, figures in rows_of.items()
    ]
    table = tag("table", tag("thead", head), tag("tbody", *rows), aria_label="Reconstruction by method")
    remark = (
        "Scans of the reference, under masks of training. L1 wavelet has its default weight, not tuned to these scans. "
        "The interval should cover 90 %."
    )
    return tag(
        "section",
        tag("h2", "How well are scans reconstructed?", id="reconstruction"),
        tag("div", table, class_="scroll", tabindex="0", role="region", aria_label="Table of reconstruction"),
        tag("p", remark, class_="remark"),
        aria_labelledby="reconstruction",
    )
