"""Further commands of the scripts, in a module for each subject; each script lists the commands that it has."""
