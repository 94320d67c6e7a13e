"""From a raw scan to usable numbers: its scale and its coil maps, from measured data only."""
