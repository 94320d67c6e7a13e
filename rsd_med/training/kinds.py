"""The list of optimisers."""

from typing import TYPE_CHECKING

from rsd_med.base.kinds import Kind, Kinds

if TYPE_CHECKING:
    from rsd_med.training.optim import OptimiserSettings

OPTIMISERS: "Kinds[OptimiserSettings]" = Kinds(
    Kind("adam", "rsd_med.training.adam:AdamSettings"),
    Kind("muon", "rsd_med.training.muon:MuonSettings"),
    default="adam",
)
