"""The speed of the toolkit, against lower bounds and simple alternatives on the same machine in the same run."""
