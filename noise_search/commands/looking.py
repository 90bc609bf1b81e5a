"""Look at sweeps in MLflow's pages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from noise_search.commands.places import store_location
from noise_search.errors import CallerError
from noise_search.store import open_store
from noise_search.tracking.serving import EXPERIMENTS, HOST, Server, links_to, serve


@dataclass(frozen=True, slots=True)
class Pages:
    """Addresses of MLflow's pages while they are served.

    Args:
        address: Of the server.
        sweep: Page of the sweep's own run; of all experiments where no sweep was named.
        trials: List of runs in which [+] unfolds the sweep's trials; None where no sweep was named.
        server: That serves them; `server.look()` raises once it has ended by itself.
    """

    address: str
    sweep: str
    trials: str | None
    server: Server


@contextmanager
def ui(
    name: str | None = None, *, store: str | Path | None = None, host: str = HOST, port: int | None = None
) -> Iterator[Pages]:
    """Serve MLflow's pages over the store's own database for as long as the `with` block lasts.

    Args:
        name: Of a sweep to link to; None links to all experiments.
        store: Folder of the store.
        host: Address to listen at; on any but a loopback address everybody who reaches it can change the runs.
        port: To listen at; None takes 5000, or a free one where that is in use.

    Raises:
        CallerError: For an unknown name, a store without tracked sweeps, or a port that is in use.
        RuntimeError: MLflow's server does not start.
    """
    location = store_location(store)
    if name is not None or location.is_shared:  # MLflow's server would make tables where there are none
        with open_store(location, create=False) as opened:
            if name is not None:
                opened.sweep(name)
    if not location.has_tracking:
        raise CallerError(
            f"ui: expected an MLflow database, found none in {location}; "
            "name another store with --store, or run a sweep there with tracking.enabled=true"
        )
    links = None if name is None else links_to(location.tracking_url, name)
    with serve(location.tracking_url, location.artifact_folder, host=host, port=port) as server:
        address = server.address
        if links is None:
            yield Pages(address, f"{address}/{EXPERIMENTS}", None, server)
        else:
            yield Pages(address, f"{address}/{links.sweep}", f"{address}/{links.trials}", server)
