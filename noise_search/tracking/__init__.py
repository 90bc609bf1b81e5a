"""The MLflow mirror of a sweep: written from our own outbox, never read back.

`messages` says what is mirrored, `mirror` carries it off the training path, `mlflow_sink` writes it into
MLflow, `serving` shows it in MLflow's pages and `memory` keeps it in plain Python. Importing this package does not
import MLflow, which takes seconds.
"""

from __future__ import annotations
