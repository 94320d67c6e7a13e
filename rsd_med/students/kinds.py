"""The list of student losses."""

from typing import TYPE_CHECKING

from rsd_med.base.kinds import Kind, Kinds

if TYPE_CHECKING:
    from rsd_med.students.base import LossSettings

LOSSES: "Kinds[LossSettings]" = Kinds(
    Kind("sid", "rsd_med.students.sid:SiDSettings"),
    Kind("dmd", "rsd_med.students.dmd:DMDSettings"),
    Kind("sds", "rsd_med.students.sds:SDSSettings"),
    default="sid",
)
