"""Commands of the scripts, a module for what they are about; each script says which of them it has."""
