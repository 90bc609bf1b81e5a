"""Look at sweeps in MLflow's pages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from noise_search.commands.places import store_location
from noise_search.errors import CallerError
from noise_search.store import Location, open_store
from noise_search.tracking.places import Place, own_place, place_of
from noise_search.tracking.serving import EXPERIMENTS, HOST, Links, Server, links_to, serve


@dataclass(frozen=True, slots=True)
class Pages:
    """Addresses of MLflow's pages while they are served.

    Args:
        address: Of the server.
        sweep: Page of the sweep's own run; of all experiments where no sweep was named.
        trials: List of runs in which [+] unfolds the sweep's trials; None where no sweep was named.
        server: That serves them; `server.look()` raises once it has ended by itself. None where they are on a tracking
            server, which needs nobody to serve them.
    """

    address: str
    sweep: str
    trials: str | None
    server: Server | None


@contextmanager
def ui(
    name: str | None = None, *, store: str | Path | None = None, host: str = HOST, port: int | None = None
) -> Iterator[Pages]:
    """Serve MLflow's pages over the store's own database for as long as the `with` block lasts.

    Where the runs are on a tracking server nothing is started: its addresses are given.

    Args:
        name: Of a sweep to link to; None links to all experiments.
        store: Folder of the store.
        host: Address to listen at; on any but a loopback address everybody who reaches it can change the runs.
        port: To listen at; None takes 5000, or a free one where that is in use.

    Raises:
        CallerError: For an unknown name, a store without tracked sweeps, or a port that is in use.
        RuntimeError: MLflow's server does not start.
        TrackingServerError: The tracking server does not answer, or refuses the login.
    """
    place = _place(name, store_location(store))
    links = None if name is None else links_to(place, name)
    if place.artifact_folder is None:
        yield _pages(place.url.rstrip("/"), links, None)
        return
    with serve(place.url, place.artifact_folder, host=host, port=port) as server:
        yield _pages(server.address, links, server)


def _pages(address: str, links: Links | None, server: Server | None) -> Pages:
    if links is None:
        return Pages(address, f"{address}/{EXPERIMENTS}", None, server)
    return Pages(address, f"{address}/{links.sweep}", f"{address}/{links.trials}", server)


def _place(name: str | None, location: Location) -> Place:
    """Where the runs of a sweep are; without a name those of the latest sweep that has any."""
    with open_store(location, create=False) as opened:
        sweeps = opened.sweeps() if name is None else [opened.sweep(name)]
    places = [place_of(location, sweep) for sweep in reversed(sweeps)] or [own_place(location)]
    found = [place for place in places if place.is_there]
    if not found:
        raise CallerError(
            f"ui: expected an MLflow database, found none in {location}; "
            "name another store with --store, or run a sweep there with tracking.enabled=true"
        )
    return found[0]
