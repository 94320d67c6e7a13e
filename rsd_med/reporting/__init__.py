"""What a run leaves for a person to read: ``report.html`` and ``model_card.md``, made from the run folder alone."""
