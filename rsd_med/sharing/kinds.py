"""The list of networks that can be passed on, the one that users want first."""

from typing import TYPE_CHECKING

from rsd_med.base.kinds import Kind, Kinds

if TYPE_CHECKING:
    from rsd_med.sharing.graphs import SharedGraph

GRAPHS: "Kinds[SharedGraph]" = Kinds(
    Kind("student", "rsd_med.sharing.graphs:StudentGraph"),
    Kind("teacher", "rsd_med.sharing.graphs:TeacherGraph"),
)
