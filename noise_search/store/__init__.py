"""The store: noise_search's own database of sweeps, and Optuna's beside it."""

from noise_search.store.confirmations import (
    add_confirmed,
    begin_confirmation,
    finish_confirmation,
    latest_with,
    store_choice,
)
from noise_search.store.leases import LeaseLost
from noise_search.store.locations import Location, locate
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
from noise_search.store.writing import REMOVED, Writer

__all__ = [
    "CHOOSE",
    "FINAL_STATES",
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
    "store_choice",
]
