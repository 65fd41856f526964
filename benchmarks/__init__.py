"""How fast the toolkit is, measured against bare limits and plain ways on the same machine in the same run."""
