"""From files to measurements: readers, the items they hand out and the corruption fixed for each of them."""
