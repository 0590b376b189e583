"""Figures for the page, as Plotly draws them: functions of frames. Colours of paper and text are the page's own."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from steepest.report.palette import Look

Looks = Mapping[str, Look]
AXES = {
    "opt_step": "optimizer steps",
    "examples": "examples",
    "wall_s": "seconds",
    "grad_evals": "gradient evaluations",
}
TALL, LOW, LINE = 400, 340, 34
"""Heights in pixels; the last one for each line of a figure with one line a group."""


def new(height: int, x: str, y: str, **layout: Any) -> go.Figure:
    """An empty figure."""
    return go.Figure(
        layout={
            **{"height": height, "margin": {"l": 62, "r": 16, "t": 12, "b": 52}, "hovermode": "closest"},
            **{"paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)", "font": {"size": 12}},
            "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"size": 12}},
            "xaxis": {"title": {"text": x, "standoff": 8}, "zeroline": False, "ticks": "", "automargin": True},
            "yaxis": {"title": {"text": y, "standoff": 6}, "zeroline": False, "ticks": "", "automargin": True},
            "template": None,
            **layout,
        }
    )


def curves(bands: pd.DataFrame, ends: pd.DataFrame, looks: Looks, axis: str, metric: str) -> go.Figure:
    """Mean and band of each group over the run; a cross where a run diverged.

    Args:
        bands: as `report.bands.bands` gives it.
        ends: as `report.bands.ends` gives it.
        looks: of each group.
        axis: the name of x.
        metric: the name of y.
    """
    figure = new(TALL, AXES.get(axis, axis), metric)
    for group, part in bands.groupby("group", sort=False):
        look = looks[str(group)]
        one = {"legendgroup": str(group), "meta": str(group)}
        if part.low.notna().any():
            x = np.concatenate([part.x, part.x[::-1]])
            band = {"x": x, "y": np.concatenate([part.high, part.low[::-1]]), "fill": "toself"}
            style = {"line": {"width": 0}, "fillcolor": look.pale(0.16), "hoverinfo": "skip", "showlegend": False}
            figure.add_scatter(mode="lines", **band, **style, **one)
        text = f"<b>%{{y:.5g}}</b> at %{{x:,.5g}}<extra>{plain(group)}, n={part.n.iloc[0]}</extra>"
        line = {"color": look.colour, "width": 2, "dash": look.dash}
        figure.add_scatter(
            x=part.x, y=part["mean"], mode="lines", line=line, name=plain(group), hovertemplate=text, **one
        )
    for group, part in ends.groupby("group", sort=False):
        marker = {"symbol": "x", "size": 9, "color": looks[str(group)].colour}
        figure.add_scatter(
            **{"x": part.x, "y": part.y, "mode": "markers", "marker": marker, "customdata": list(part.run_id)},
            **{"name": f"{plain(group)}: diverged", "legendgroup": str(group), "meta": str(group), "showlegend": False},
            hovertemplate="%{customdata} diverged here<extra></extra>",
        )
    return figure


def sensitivity(
    frame: pd.DataFrame, typical: Mapping[str, tuple[float, float]], looks: Looks, metric: str, direction: str
) -> go.Figure:
    """Results over the learning rate; diverged runs stand as crosses at the worst end; typical ranges shaded."""
    figure = new(LOW, "learning rate", metric)
    decades = np.log10(frame.lr.max() / frame.lr.min())
    figure.update_xaxes(type="log", exponentformat="power", dtick=1 if decades < 5 else 2, tickangle=0)
    worst = frame.result.min() if direction == "max" else frame.result.max()
    for group, part in frame.groupby("group", sort=False):
        look, there = looks[str(group)], part.dropna(subset=["result"])
        means = there.groupby("lr").result.mean()
        one = {"legendgroup": str(group), "meta": str(group)}
        if 2 <= len(means) < max(len(there), 13):
            line = {"color": look.colour, "width": 1.5, "dash": look.dash}
            figure.add_scatter(
                x=means.index, y=means, mode="lines", line=line, hoverinfo="skip", showlegend=False, **one
            )
        marker = {"symbol": look.symbol, "size": 7, "color": look.colour}
        figure.add_scatter(
            **{"x": there.lr, "y": there.result, "mode": "markers", "marker": marker, "name": plain(group)},
            **{"customdata": list(there.run_id), **one},
            hovertemplate="<b>%{y:.5g}</b> at lr %{x:.3g}<br>%{customdata}<extra>" + plain(group) + "</extra>",
        )
        lost = part[part.status == "diverged"]
        if len(lost) and not np.isnan(worst):
            marker = {"symbol": "x-thin-open", "size": 9, "color": look.colour, "line": {"width": 2}}
            figure.add_scatter(
                **{"x": lost.lr, "y": [worst] * len(lost), "mode": "markers", "marker": marker, "showlegend": False},
                **{"customdata": list(lost.run_id), **one},
                hovertemplate="diverged at lr %{x:.3g}<br>%{customdata}<extra>" + plain(group) + "</extra>",
            )
    ranges: dict[tuple[float, float], list[str]] = {}
    for group in frame.group.unique():
        if group in typical:
            ranges.setdefault(typical[group], []).append(group)
    for (low, high), groups in ranges.items():
        colour = looks[groups[0]].pale(0.10)
        figure.add_vrect(x0=low, x1=high, fillcolor=colour, line_width=0, layer="below")
    return figure


def best_of_k(frame: pd.DataFrame, looks: Looks, metric: str) -> go.Figure:
    """The expected best result after k trials of the search."""
    figure = lines(frame, "k", "value", looks, ("trials of the search", f"expected best {metric}"))
    most = int(frame.k.max())
    figure.update_xaxes(dtick=1 if most <= 16 else None, range=[0.6, most + 0.4])
    return figure


def profile(frame: pd.DataFrame, looks: Looks, title: str) -> go.Figure:
    """The share of rows in which a group is within tau of the best.

    Args:
        frame: group, tau, share.
        looks: of each group.
        title: what tau is.
    """
    ends = frame.groupby("group", sort=False).share.last().reset_index().assign(tau=frame.tau.max())
    figure = lines(pd.concat([frame, ends]), "tau", "share", looks, (title, "share of rows"), "hv")
    figure.update_yaxes(range=[-0.02, 1.05], tickformat=".0%")
    return figure


def time_to_target(frame: pd.DataFrame, looks: Looks, axis: str) -> go.Figure:
    """The share of runs that reached the target; a line that ends below 100 % has runs that never did."""
    figure = lines(frame, "x", "share", looks, (AXES.get(axis, axis), "runs at the target"), "hv")
    figure.update_yaxes(range=[-0.02, 1.05], tickformat=".0%")
    for group, part in frame.groupby("group", sort=False):
        if part.missing.iloc[0]:
            marker = {"symbol": "line-ns-open", "size": 14, "color": looks[str(group)].colour, "line": {"width": 2.5}}
            figure.add_scatter(
                **{"x": [part.x.iloc[-1]], "y": [part.share.iloc[-1]], "mode": "markers", "marker": marker},
                **{"legendgroup": str(group), "meta": str(group), "showlegend": False},
                hovertemplate=f"{part.missing.iloc[0]} of {part.n.iloc[0]} never did<extra>{plain(group)}</extra>",
            )
    return figure


def lines(
    frame: pd.DataFrame, x: str, y: str, looks: Looks, titles: tuple[str, str], shape: str = "linear"
) -> go.Figure:
    """A line a group."""
    figure = new(LOW, *titles)
    for group, part in frame.groupby("group", sort=False):
        look = looks[str(group)]
        line = {"color": look.colour, "width": 2, "dash": look.dash, "shape": shape}
        few = len(part) <= 24 and shape == "linear"
        figure.add_scatter(
            **{"x": part[x], "y": part[y], "mode": "lines+markers" if few else "lines", "line": line},
            **{"marker": {"symbol": look.symbol, "size": 6}, "name": plain(group)},
            **{"legendgroup": str(group), "meta": str(group)},
            hovertemplate="<b>%{y:.4g}</b> at %{x:,.4g}<extra>" + plain(group) + "</extra>",
        )
    return figure


def cost(table: pd.DataFrame, looks: Looks, column: str, title: str) -> go.Figure:
    """One figure of each group's cost, such as the milliseconds of a step, from 0 on."""
    there = table.dropna(subset=[column])
    figure = rows(there.group, title)
    colours = [looks[group].colour for group in there.group]
    bars = {"x": there[column], "y": [plain(group) for group in there.group], "orientation": "h", "width": 0.55}
    figure.add_bar(
        **bars, marker={"color": colours, "line": {"width": 0}}, text=[f"{value:.3g}" for value in there[column]]
    )
    figure.update_traces(textposition="auto", hovertemplate="%{y}: %{x:.4g}<extra></extra>", customdata=there.group)
    figure.update_xaxes(rangemode="tozero")
    return figure


def differences(frame: pd.DataFrame, looks: Looks, metric: str) -> go.Figure:
    """How far each group is behind the reference, with its interval and the margin within which it does not matter."""
    figure = rows(frame.group, f"difference in {metric}")
    margin = frame.margin.iloc[0]
    if margin is not None and margin > 0:
        figure.add_vrect(x0=-margin, x1=margin, fillcolor="rgba(128,128,128,0.18)", line_width=0, layer="below")
    figure.add_vline(x=0, line_width=1.2, line_color="#888888")
    for row in frame.itertuples():
        look = looks[row.group]
        error = {"type": "data", "symmetric": False, "array": [row.high - row.mean], "thickness": 2, "width": 5}
        figure.add_scatter(
            **{"x": [row.mean], "y": [plain(row.group)], "mode": "markers", "showlegend": False, "meta": row.group},
            marker={"symbol": look.symbol, "size": 9, "color": look.colour},
            error_x={**error, "arrayminus": [row.mean - row.low], "color": look.colour},
            hovertemplate=f"%{{x:.4g}} [{row.low:.4g}, {row.high:.4g}], {row.n} pairs<extra>{plain(row.group)}</extra>",
        )
    return figure


def rows(groups: pd.Series, title: str) -> go.Figure:
    """An empty figure with a line a group, the first one on top."""
    figure = new(90 + LINE * max(2, len(groups)), title, "")
    names = [plain(group) for group in groups]
    figure.update_yaxes(type="category", categoryorder="array", categoryarray=names[::-1], showgrid=False)
    figure.update_yaxes(range=[-0.6, len(names) - 0.4])
    return figure


def plain(text: Any) -> str:
    """Text that Plotly shows as it is: it reads some HTML in names."""
    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
