"""The page of a sweep: what it found, what was confirmed, what it cost, as figures and tables that need no network."""
