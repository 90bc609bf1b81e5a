"""Figures of a sweep as Plotly's own plain data; the page gives them the colours of paper and letters by its theme.

Every figure takes what the page says and returns data and layout, or None where there is nothing to draw.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from noise_search.noises import NOISES
from noise_search.policy import Policy, policy_from_list
from noise_search.reports.contents import STEPS, Contents, Gains, Life
from noise_search.search.arm_scores import Interval, arm_scores
from noise_search.search.evidence import NO_NOISE, WINNER, by_arm
from noise_search.search.fronts import FrontRow
from noise_search.search.importance import LIKELY_BY_CHANCE
from noise_search.search.pick import by_trial

Figure = dict[str, Any]

# Okabe & Ito, told apart by colour-blind readers too, and on light and dark paper.
GREY, BLUE, RED, GREEN, ORANGE, PINK, SKY = "#8d99a6", "#0f86c9", "#e0641c", "#0fa67d", "#e69f00", "#cc79a7", "#56b4e9"
TERM_COLOURS = (BLUE, RED, GREEN, PINK, ORANGE, SKY, GREY)
SHAPE_COLOURS = {"constant": BLUE, "falling": RED, "rising": GREEN, "even": PINK, "no noise": GREY}
CONTROLS = {
    "no_noise": ("no noise", "cross", RED),
    "constant": ("constants", "x", PINK),
    "random": ("random", "x", GREY),
}
MARKS = {"best": ("star", 17), "knee": ("diamond-open", 15), "best and knee": ("star", 17)}
ARMS = {WINNER: (ORANGE, "star"), NO_NOISE: (RED, "cross")}
OTHERS, SYMBOLS = (BLUE, GREEN, PINK, SKY, GREY), ("circle", "diamond", "square")
_NO_BOX = "<extra></extra>"  # beside what the pointer is told
POINTS = 100.0  # of accuracy above chance in 1
_ROW, _STRIP = 24, 190  # pixels: a row of a heat map, the curves of a policy
_HEAD = 90  # pixels of a figure that are not its rows
_TOP, _BOTTOM, _BELOW = 16, 48, 60  # pixels: margins, and how far under the curves their legend begins


def front(contents: Contents) -> Figure | None:
    """Clean against robust accuracy above chance, as searched: every complete trial and control a point."""
    rows = contents.rows
    if not rows:
        return None
    trials = [row for row in rows if row.control is None and not row.on_front]
    best = sorted((row for row in rows if row.on_front), key=lambda row: row.clean)
    data = [_points("trials", trials, GREY), _points("front", best, BLUE, mode="lines+markers")]
    for kind, (name, symbol, colour) in CONTROLS.items():
        own = [row for row in rows if row.control is not None and row.control.startswith(kind)]
        data.append(_points(name, own, colour, symbol=symbol, size=11))
    for rule, row in by_trial(contents.picks).items():
        symbol, size = MARKS[rule]
        data.append(_points(rule, [row], ORANGE, symbol=symbol, size=size))
    winner = [row for row in rows if row.name == contents.winner]
    data.append(_points(f"confirmed winner: {contents.winner}", winner, ORANGE, symbol="circle-open", size=26))
    layout = _layout("clean, above chance", "robust, above chance", height=470)
    return {"data": [line for line in data if line["x"]], "layout": layout}


def _points(
    name: str, rows: Sequence[FrontRow], colour: str, *, mode: str = "markers", symbol: str = "circle", size: int = 8
) -> dict[str, Any]:
    return {
        "type": "scatter",
        "name": name,
        "mode": mode,
        "x": [row.clean for row in rows],
        "y": [row.robust for row in rows],
        "text": [row.control or row.name for row in rows],
        "hovertemplate": "%{text}<br>clean %{x:.3f}<br>robust %{y:.3f}<extra></extra>",
        "marker": {"color": colour, "symbol": symbol, "size": size},
        "line": {"color": colour},
    }


def arms(contents: Contents) -> Figure | None:
    """Clean against robust accuracy above chance on test, as published: the mean of every arm with its intervals."""
    if contents.measured is None:
        return None
    own, yard = by_arm(contents.measured.arms), contents.measured.yard
    means = {name: arm_scores(trainings, yard) for name, trainings in own.items()}
    others = [name for name in means if name not in ARMS]
    looks = ARMS | {
        name: (OTHERS[k % len(OTHERS)], SYMBOLS[k // len(OTHERS) % len(SYMBOLS)]) for k, name in enumerate(others)
    }
    order = sorted(means, key=lambda name: name == WINNER)  # on top of the others
    data = [_arm(name, means[name], *looks[name]) for name in order]
    layout = _layout("clean, above chance", "robust, above chance", height=520)
    return {"data": data, "layout": layout}


def _arm(name: str, means: Mapping[str, Interval], colour: str, symbol: str) -> dict[str, Any]:
    def bars(low: float, mean: float, high: float) -> dict[str, Any]:
        return {"type": "data", "symmetric": False, "array": [high - mean], "arrayminus": [mean - low], "thickness": 1}

    clean, robust = means["clean"], means["robust"]
    said = [f"[{one.low:.3f}, {one.high:.3f}]" for one in (clean, robust)]
    return {
        "type": "scatter",
        "name": name,
        "mode": "markers",
        "x": [clean.mean],
        "y": [robust.mean],
        "error_x": bars(clean.low, clean.mean, clean.high),
        "error_y": bars(robust.low, robust.mean, robust.high),
        "marker": {"color": colour, "symbol": symbol, "size": 15 if symbol == "star" else 9},
        "hovertemplate": f"%{{fullData.name}}<br>clean %{{x:.3f}} {said[0]}<br>robust %{{y:.3f}} {said[1]}" + _NO_BOX,
    }


def differences(contents: Contents) -> Figure | None:
    """The winner minus every arm, robust accuracy in points with intervals."""
    if contents.measured is None:
        return None
    against = list(reversed(contents.measured.evidence.against))
    found = [one.robust for one in against]
    trace = _bars_of_differences([one.arm for one in against], found, BLUE, "robust") | {"showlegend": False}
    layout = _layout("points, winner minus arm", "", rows=len(against))
    return {"data": [trace], "layout": layout | {"shapes": [_ZERO]}}


_DOTTED = {"color": GREY, "width": 1, "dash": "dot"}
_ZERO = {"type": "line", "x0": 0, "x1": 0, "y0": 0, "y1": 1, "yref": "paper", "line": _DOTTED}


def _bars_of_differences(names: Sequence[str], found: Sequence[Any], colour: str, called: str) -> dict[str, Any]:
    """Points with intervals, one a row."""
    return {
        "type": "scatter",
        "mode": "markers",
        "name": called,
        "y": list(names),
        "x": [POINTS * one.mean for one in found],
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [POINTS * (one.high - one.mean) for one in found],
            "arrayminus": [POINTS * (one.mean - one.low) for one in found],
        },
        "text": [f"[{POINTS * one.low:+.1f}, {POINTS * one.high:+.1f}]" for one in found],
        "marker": {"color": colour, "size": 9},
        "hovertemplate": "%{y}<br>%{x:+.1f} %{text}<extra></extra>",
    }


def drawn_policies(contents: Contents) -> dict[str, Policy]:
    """Policies whose schedules are drawn, by what they are: the picks and the confirmed winner."""
    found = {
        f"{rule}: trial {row.trial}": policy_from_list(row.policy) for rule, row in by_trial(contents.picks).items()
    }
    if contents.measured is not None:
        found[f"confirmed winner: {contents.measured.chosen[WINNER]}"] = contents.measured.winner
    return found


def schedules(contents: Contents) -> Figure | None:
    """Magnitude of every term over training, as a share of its largest: a strip of curves for every policy."""
    policies = {name: policy for name, policy in drawn_policies(contents).items() if policy.terms}
    if not policies:
        return None
    keys = list(dict.fromkeys(term.key for policy in policies.values() for term in policy.terms))
    shown: set[str] = set()
    data, axes, titles = [], {}, []
    for place, (name, policy) in enumerate(policies.items()):
        low, high = 1 - (place + 0.78) / len(policies), 1 - place / len(policies) - 0.06 / len(policies)
        axis = "y" if place == 0 else f"y{place + 1}"
        axes[f"yaxis{axis[1:]}"] = _strip(max(low, 0), high)
        titles.append({"text": name, "x": 0, "xref": "paper", "xanchor": "left", "y": high, "yref": "paper",
                       "yanchor": "bottom", "showarrow": False})  # fmt: skip
        for key, curve in _curves(policy).items():
            data.append(curve | {"yaxis": axis, "showlegend": key not in shown} | _line(keys.index(key)))
            shown.add(key)
    layout = _layout("share of training", "", height=_HEAD + _STRIP * len(policies)) | axes
    lowest = f"y{len(policies)}" if len(policies) > 1 else "y"
    layout["xaxis"] |= {"tickformat": ".0%", "range": [0, 1], "tickvals": [0, 0.25, 0.5, 0.75, 1], "anchor": lowest}
    return {"data": data, "layout": layout | {"annotations": titles, "hovermode": "x"}}


def _strip(low: float, high: float) -> dict[str, Any]:
    """Axis of the curves of a policy, which has a part of the height."""
    ticks = {"range": [-0.05, 1.08], "tickvals": [0, 0.5, 1]}
    return {"domain": [low, high], "automargin": True, "zeroline": False, **ticks}


def _line(place: int) -> dict[str, Any]:
    """Colour of a term and its dashes, by which equal curves show through each other."""
    dashes = ("solid", "dash", "dot", "dashdot", "longdash")
    return {
        "line": {"color": TERM_COLOURS[place % len(TERM_COLOURS)], "dash": dashes[place % len(dashes)], "width": 2.5}
    }


def _curves(policy: Policy) -> dict[str, dict[str, Any]]:
    progress = [step / (STEPS - 1) for step in range(STEPS)]
    found = {}
    for term in policy.terms:
        table = policy.tabulate(STEPS)[term.key]
        found[term.key] = {
            "type": "scatter",
            "mode": "lines",
            "name": term.key,
            "legendgroup": term.key,
            "x": progress,
            "y": (table / (float(table.max()) or 1.0)).tolist(),
            "customdata": table.tolist(),
            "meta": NOISES[term.site][term.noise].unit,
            "hovertemplate": "%{fullData.name}<br>%{x:.0%} of training<br>"
            "magnitude %{customdata:.3g} (%{meta})<extra></extra>",
        }
    return found


def gains(found: Gains | None) -> Figure | None:
    """Heat map of differences to no noise in points, kinds by severities; families that were trained with marked."""
    if found is None:
        return None
    rows = {
        f"{family}: {kind}{' (seen)' if family in found.seen else ''}": [POINTS * gain for gain in found.by_kind[kind]]
        for family, kinds in reversed(list(found.families.items()))
        for kind in reversed(kinds)
    }
    most = max((abs(gain) for row in rows.values() for gain in row), default=0.0) or 1.0
    severities = [str(number) for number in range(1, 1 + max(map(len, rows.values())))]
    heat = {
        "type": "heatmap",
        "x": severities,
        "y": list(rows),
        "z": list(rows.values()),
        "coloraxis": "coloraxis",
        "text": [[_whole(gain) for gain in row] for row in rows.values()],
        "texttemplate": "%{text}",
        "hovertemplate": "%{y}, severity %{x}<br>%{z:+.1f} points to no noise<extra></extra>",
        "xgap": 1,
        "ygap": 1,
    }
    layout = _layout("severity", "", rows=len(rows))
    layout["xaxis"] |= {"type": "category", "showgrid": False}
    layout["yaxis"] |= {"showgrid": False}
    bar = {"title": {"text": "points"}, "thickness": 12}
    return {"data": [heat], "layout": layout | {"coloraxis": {"cmin": -most, "cmax": most, "colorbar": bar}}}


def _whole(points: float) -> str:
    """Points without a fraction; 0 has no sign.

    >>> _whole(2.5001), _whole(-0.4)
    ('+3', '0')
    """
    return f"{points:+.0f}" if round(points) else "0"


def gains_searched(contents: Contents) -> Figure | None:
    """Heat map of the pick with the best score, on validation."""
    return gains(contents.searched)


def gains_confirmed(contents: Contents) -> Figure | None:
    """Heat map of the confirmed winner, on test."""
    return gains(contents.confirmed)


def families(contents: Contents) -> Figure | None:
    """The winner minus no noise for every family of the held-out suite, seen and unseen ones apart, with intervals."""
    if contents.measured is None:
        return None
    over, seen = contents.measured.evidence.over(NO_NOISE).families, contents.measured.yard.seen
    data = []
    for called, colour in (("seen in training", ORANGE), ("unseen", BLUE)):
        own = {name: one for name, one in reversed(list(over.items())) if (name in seen) == (called != "unseen")}
        if own:
            data.append(_bars_of_differences(list(own), list(own.values()), colour, called))
    layout = _layout("points, winner minus no noise", "", rows=len(over) + 1)
    return {"data": data, "layout": layout | {"shapes": [_ZERO]}}


def survival(contents: Contents) -> Figure | None:
    """How many trials came to each rung, by the shape of their schedules."""
    if not contents.lives:
        return None
    rungs = sorted({life.reached for life in contents.lives} - {0})
    columns: dict[str, Callable[[Life], bool]] = {}
    if not rungs or any(life.reached < rungs[0] for life in contents.lives):  # else as many came to the first rung
        columns["asked"] = lambda _: True
    columns |= {str(rung): lambda life, rung=rung: life.reached >= rung for rung in rungs}  # type: ignore[misc]
    data = []
    for shape, colour in SHAPE_COLOURS.items():
        own = [life for life in contents.lives if life.shape == shape]
        counts = [sum(came(life) for life in own) for came in columns.values()]
        bar = {"type": "bar", "name": shape, "x": list(columns), "y": counts, "text": [str(n or "") for n in counts]}
        told = {"textangle": 0, "textposition": "inside", "hovertemplate": "%{fullData.name}: %{y}" + _NO_BOX}
        data += [bar | told | {"marker": {"color": colour}}] if own else []
    layout = _layout("scored after epoch", "trials", height=380) | {"barmode": "stack"}
    layout["xaxis"] |= {"type": "category"}
    return {"data": data, "layout": layout}


def importance(contents: Contents) -> Figure | None:
    """Share of each knob in all importance."""
    found = contents.importance
    if found is None:
        return None
    shares = dict(sorted(found["shares"].items(), key=lambda item: float(item[1])))
    said = [f"chance alone shows as much in {100 * found['chance'][knob]:.0f} % of shuffles" for knob in shares]
    bars = _bars(list(shares), [100 * share for share in shares.values()], BLUE) | {"customdata": said}
    bars |= {"texttemplate": "%{x:.0f} %", "hovertemplate": "%{y}: %{x:.0f} %<br>%{customdata}<extra></extra>"}
    bars["marker"] = {"color": [GREY if found["chance"][knob] > LIKELY_BY_CHANCE else BLUE for knob in shares]}
    layout = _layout("share of all importance, %", "", rows=len(shares))
    return {"data": [bars], "layout": layout}


def cost(contents: Contents) -> Figure | None:
    """Epochs of single trainings by part, and those that were saved."""
    saved = {"saved by stopping": contents.saved_by_stopping, "saved by sharing": contents.numbers["epochs_saved"]}
    parts = {part.name: part.epochs for part in contents.cost}
    rows = [*reversed({name: count for name, count in saved.items() if count}.items()), *reversed(parts.items())]
    if not any(count for _, count in rows):
        return None
    bars = _bars([name for name, _ in rows], [count for _, count in rows], BLUE)
    bars["marker"] = {"color": [GREEN if name in saved else BLUE for name, _ in rows]}
    bars |= {"texttemplate": "%{x:,}", "hovertemplate": "%{y}: %{x:,} epochs<extra></extra>"}
    return {"data": [bars], "layout": _layout("epochs of single trainings", "", rows=len(rows))}


def _bars(names: Sequence[str], values: Sequence[float], colour: str) -> dict[str, Any]:
    return {
        "type": "bar",
        "orientation": "h",
        "y": list(names),
        "x": list(values),
        "marker": {"color": colour},
        "textposition": "auto",
        "cliponaxis": False,
    }


def _layout(x: str, y: str, *, height: int = 0, rows: int = 0) -> dict[str, Any]:
    """What figures have in common; with `rows` of names at the left it is as high as they need."""
    height = height or _HEAD + _ROW * max(rows, 3)
    return {
        "height": height,
        "margin": {"l": 56 if y else 8, "r": 24, "t": _TOP, "b": _BOTTOM},
        "xaxis": {"title": {"text": x, "standoff": 8}, "automargin": True, "zeroline": False},
        "yaxis": {"title": {"text": y, "standoff": 12}, "automargin": True, "zeroline": False},
        "legend": {"orientation": "h", "x": 0, "y": -_BELOW / (height - _TOP - _BOTTOM), "yanchor": "top"},
        "hoverlabel": {"align": "left"},
    }


FIGURES: dict[str, Callable[[Contents], Figure | None]] = {
    "front": front,
    "arms": arms,
    "differences": differences,
    "schedules": schedules,
    "gains-searched": gains_searched,
    "gains-confirmed": gains_confirmed,
    "families": families,
    "survival": survival,
    "importance": importance,
    "cost": cost,
}


def figures_of(contents: Contents) -> dict[str, Figure]:
    """Every figure that there is something to draw in, by its name."""
    made: Iterable[tuple[str, Figure | None]] = ((name, draw(contents)) for name, draw in FIGURES.items())
    return {name: figure for name, figure in made if figure is not None}
