"""noise_search: hyperparameter search for noise schedules."""

__version__ = "0.1.0"
