"""What operators watch: a log of JSON lines and a file of metrics, of each sweep, beside its other files."""

from noise_search.operations.journal import Journal, JsonLines, logged_as_json
from noise_search.operations.metrics_file import METRICS, METRICS_FILE, MetricsFile, Numbers, set_numbers

__all__ = ["METRICS", "METRICS_FILE", "Journal", "JsonLines", "MetricsFile", "Numbers", "logged_as_json", "set_numbers"]
