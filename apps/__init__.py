"""Programs built on rsd_med; the package never imports them."""
