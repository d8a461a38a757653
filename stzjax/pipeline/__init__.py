"""The stages of a run and the studies of it, from settings to a filled run folder."""
