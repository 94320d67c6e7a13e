"""Models for people who do not have rsd_med: programs that stand for themselves, and folders for model hubs."""
