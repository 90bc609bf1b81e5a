from __future__ import annotations

import threading

import pytest
from postgres_servers import Server
from sweep_examples import NAME, finished_store

import noise_search
from noise_search.commands import status, statuses
from noise_search.store import Location, open_store


def test_a_sweep_is_given_as_status_gives_it_and_all_as_statuses_does() -> None:
    store = finished_store()
    assert list(noise_search.watch(NAME, store=store)) == [status(NAME, store=store)]
    assert list(noise_search.watch(store=store)) == [statuses(store=store)]


@pytest.mark.slow
def test_a_server_that_goes_away_meanwhile_is_waited_for(
    postgres: Server, shared: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOISE_SEARCH_FOLDER", str(shared.folder))
    with open_store(shared, create=True) as store:
        sweep = store.create_sweep(name=NAME, digest="abc", identity={}, config={}, budget_trials=3)
        with store.take_lease(sweep.id) as writer:
            changes = noise_search.watch(NAME, store=shared.server, seconds=0.1)
            assert next(changes)["state"] == "running"
            writer.update_sweep(budget_trials=4)
            postgres.stop()
            back = threading.Timer(1.5, postgres.start)
            back.start()
            assert next(changes)["budget"]["trials"] == 4
            assert not back.is_alive()  # it was asked while the server was away
            writer.update_sweep(state="interrupted")
        assert [found["state"] for found in changes][-1] == "interrupted"
