"""The tabs of the page; each file builds one and holds what its buttons do."""
