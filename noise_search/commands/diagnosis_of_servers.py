"""What works of a store in PostgreSQL, and what to mend."""

from __future__ import annotations

from collections.abc import Iterator

from noise_search.commands.checks import Check
from noise_search.store import Location, is_current, open_store, schema_versions
from noise_search.store.servers import OLDEST, server_facts


def store_server(location: Location) -> Iterator[Check]:
    """Whether the server is reached, is fit, lets us write, and has schemas of these versions.

    Raises:
        CallerError: It cannot be reached, or its schemas are not those that are expected: what is said then is the
            finding.
    """
    facts = server_facts(location)
    is_old = int(facts.version.split(".")[0]) < OLDEST
    found = f"PostgreSQL {facts.version} at {location}, user {facts.user}"
    yield Check("store server", "fail" if is_old else "ok", found, f"PostgreSQL {OLDEST} or newer" if is_old else "")
    if facts.encoding != "UTF8":
        yield Check("store encoding", "fail", facts.encoding, "a database WITH ENCODING 'UTF8' TEMPLATE template0")
    if facts.missing:
        lacking = "; ".join(f"GRANT {one} TO {facts.user}" for one in facts.missing)
        yield Check("store privileges", "fail", f"{len(facts.missing)} are missing", lacking)
    else:
        yield Check("store privileges", "ok", "all that sweeps need")
    if any(grant.startswith("USAGE") for grant in facts.missing):
        return  # what nobody may look into cannot be checked
    versions = schema_versions(location)
    is_current(location)  # says what is the matter
    with open_store(location, create=False) as opened:
        opened.optuna_storage()
        schemas = ", ".join(f"{name} {revision}" for name, revision in versions.items())
        yield Check("store", "ok", f"{len(opened.sweeps())} sweeps; schemas as expected: {schemas}")
