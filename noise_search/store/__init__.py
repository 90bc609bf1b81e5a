"""The store: noise_search's own database of sweeps, and Optuna's beside it."""

from noise_search.store.confirmations import (
    add_confirmed,
    begin_confirmation,
    finish_confirmation,
    latest_with,
    store_choice,
)
from noise_search.store.leases import LeaseLost
from noise_search.store.locations import DEFAULT_STORE, FOLDER_VARIABLE, Location, locate, owner_of
from noise_search.store.patience import StoreLostError
from noise_search.store.records import (
    CardRecord,
    ConfirmationRecord,
    Confirmed,
    JobRecord,
    MemberRecord,
    NewCard,
    NewMember,
    NewResult,
    OutboxEntry,
    OutboxRecord,
    ResultRecord,
    RungScores,
    SweepRecord,
)
from noise_search.store.repository import Store, create_schema, is_current, open_store
from noise_search.store.tables import CHOOSE, FINAL_STATES, MEASURE
from noise_search.store.versions import schema_versions
from noise_search.store.writing import REMOVED, Writer

__all__ = [
    "CHOOSE",
    "DEFAULT_STORE",
    "FINAL_STATES",
    "FOLDER_VARIABLE",
    "MEASURE",
    "REMOVED",
    "CardRecord",
    "ConfirmationRecord",
    "Confirmed",
    "JobRecord",
    "LeaseLost",
    "Location",
    "MemberRecord",
    "NewCard",
    "NewMember",
    "NewResult",
    "OutboxEntry",
    "OutboxRecord",
    "ResultRecord",
    "RungScores",
    "Store",
    "StoreLostError",
    "SweepRecord",
    "Writer",
    "add_confirmed",
    "begin_confirmation",
    "create_schema",
    "finish_confirmation",
    "is_current",
    "latest_with",
    "locate",
    "open_store",
    "owner_of",
    "schema_versions",
    "store_choice",
]
