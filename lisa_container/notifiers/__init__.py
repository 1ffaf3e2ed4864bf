"""LISA notifiers: what LISA reports of a run, and the settings of a run."""
