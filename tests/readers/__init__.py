"""Every engine that the documentation names reads one lake, at its newest and at older versions: one hash of rows."""
