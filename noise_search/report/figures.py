"""Figures of a sweep, drawn with Plotly and written as one page that needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from noise_search.policy import Policy, policy_from_list
from noise_search.search.fronts import FrontRow

_STEPS = 201
_COLOURS = {"trial": "#9aa5b1", "front": "#0b6e99", "control": "#d1495b", "picked": "#edae49"}


def sweep_page(name: str, rows: Sequence[FrontRow], picked: FrontRow | None, path: Path) -> None:
    """Write the front and the picked policy's curves to `path`, the script inlined.

    Args:
        name: Of the sweep.
        rows: Every complete trial and control, as `fronts.complete_rows` gives them.
        picked: Trial whose schedules are drawn; None for a sweep without a complete trial.
        path: HTML file to write.
    """
    figures = [front_figure(name, rows, picked)]
    if picked is not None:
        figures.append(schedule_figure(picked))
    parts = [
        figure.to_html(full_html=False, include_plotlyjs=index == 0, div_id=f"figure-{index}")
        for index, figure in enumerate(figures)
    ]
    head = f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{name}</title></head>'
    path.write_text(f"{head}<body>{''.join(parts)}</body></html>", encoding="utf-8")


def front_figure(name: str, rows: Sequence[FrontRow], picked: FrontRow | None) -> Any:
    """Clean against robust accuracy above chance, every complete trial and control a point."""
    import plotly.graph_objects as go

    trials = [row for row in rows if row.control is None and not row.on_front]
    front = sorted((row for row in rows if row.on_front), key=lambda row: row.clean)
    controls = [row for row in rows if row.control is not None]
    figure = go.Figure(
        [
            _points("trials", trials, _COLOURS["trial"], "markers"),
            _points("front", front, _COLOURS["front"], "lines+markers"),
            _points("controls", controls, _COLOURS["control"], "markers+text", symbol="x"),
            _points("picked", [picked] if picked else [], _COLOURS["picked"], "markers", symbol="star", size=16),
        ]
    )
    return figure.update_layout(
        title=f"{name}: front on the validation split (searched, optimistic)",
        xaxis_title="clean accuracy above chance",
        yaxis_title="robust accuracy above chance",
        template="plotly_white",
        height=520,
    )


def schedule_figure(row: FrontRow) -> Any:
    """Magnitude of every term of a policy over training, each as a share of its largest."""
    import plotly.graph_objects as go

    policy = policy_from_list(row.policy)
    progress = [step / (_STEPS - 1) for step in range(_STEPS)]
    lines = [
        go.Scatter(x=progress, y=curve, mode="lines", name=f"{key} (largest {largest:.3g})")
        for key, curve, largest in _curves(policy)
    ]
    return go.Figure(lines).update_layout(
        title=f"trial {row.trial}: schedules" if lines else f"trial {row.trial}: no noise at all",
        xaxis_title="fraction of training",
        yaxis_title="magnitude, as a share of its largest",
        template="plotly_white",
        height=420,
    )


def _curves(policy: Policy) -> list[tuple[str, list[float], float]]:
    tables = policy.tabulate(_STEPS)
    largest = {key: float(table.max()) for key, table in tables.items()}
    return [(key, (table / (largest[key] or 1.0)).tolist(), largest[key]) for key, table in tables.items()]


def _points(name: str, rows: Sequence[FrontRow], colour: str, mode: str, symbol: str = "circle", size: int = 9) -> Any:
    import plotly.graph_objects as go

    labels = [row.control or f"trial {row.trial}" for row in rows]
    return go.Scatter(
        x=[row.clean for row in rows],
        y=[row.robust for row in rows],
        mode=mode,
        name=name,
        text=labels,
        textposition="top center",
        hovertemplate="%{text}<br>clean %{x:.3f}<br>robust %{y:.3f}<extra></extra>",
        marker={"color": colour, "symbol": symbol, "size": size},
        line={"color": colour},
    )
