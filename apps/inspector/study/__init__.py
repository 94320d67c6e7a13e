"""Reader studies, blind: which image a person prefers, whether they tell real from synthetic, how they rank methods."""
