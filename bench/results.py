# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks say: tables for people, JSON for programs, bar charts as SVG."""
import json
import os
import platform
import statistics
from dataclasses import dataclass
from html import escape
from pathlib import Path


def median(values):
    return statistics.median(values)


def quartiles(values):
    """The middle half: what noise does to one run in two."""
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def machine():
    """What the figures depend on, beside the programs that were measured."""
    names = [line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
             if line.startswith("model name")]
    return {"arch": platform.machine(), "kernel": platform.release(), "cpu": names[0] if names else "unknown",
            "cpus": os.cpu_count(), "load": os.getloadavg()[0]}


def print_table(head, rows):
    """The first column to the left, all others, which hold numbers, to the right."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    for row in (head, ["-" * width for width in widths], *rows):
        cells = [cell.rjust(width) for cell, width in zip(row, widths)]
        print("  ".join([row[0].ljust(widths[0]), *cells[1:]]).rstrip())


def write_json(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


# ---- charts ----------------------------------------------------------------------------------------------------------

WIDTH, LABEL_WIDTH, VALUE_WIDTH, MARGIN = 760, 150, 150, 16
BAR, GAP, TITLE, PANEL_TITLE = 22, 8, 40, 34
STYLE = """text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-size: 16px; font-weight: 600 } .note { fill: #57606a }
.bar { fill: #8c959f } .ours { fill: #0969da } .range { stroke: #24292f; stroke-width: 1.5 }
.paper { fill: #ffffff }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .note { fill: #9198a1 } .bar { fill: #656c76 }
.ours { fill: #4493f8 } .range { stroke: #e6edf3 } .paper { fill: #0d1117 } }"""


@dataclass
class Bar:
    label: str
    value: float
    words: str       # the value with its unit
    low: float = 0   # of the whisker; 0 and 0: none
    high: float = 0
    ours: bool = False


@dataclass
class Panel:
    """Bars of one quantity, which start at 0."""
    title: str
    bars: list


def text(x, y, words, css=""):
    return f'<text x="{x:.0f}" y="{y:.0f}"{f" class={css!r}" if css else ""}>{escape(words)}</text>'


def draw_bar(bar, y, scale):
    middle = y + BAR / 2
    parts = [text(MARGIN, middle + 4, bar.label),
             f'<rect class="bar{" ours" if bar.ours else ""}" x="{LABEL_WIDTH}" y="{y}" '
             f'width="{max(bar.value * scale, 1):.1f}" height="{BAR}" rx="2"/>']
    end = max(bar.value, bar.high) * scale
    if bar.high:
        parts.append(f'<path class="range" d="M{LABEL_WIDTH + bar.low * scale:.1f} {middle}H{LABEL_WIDTH + end:.1f}"/>')
    parts.append(text(LABEL_WIDTH + end + 8, middle + 4, bar.words))
    return parts


def draw_panel(panel, y):
    room = WIDTH - LABEL_WIDTH - VALUE_WIDTH
    scale = room / max(max(bar.value, bar.high) for bar in panel.bars)
    parts = [text(MARGIN, y + 20, panel.title, "note")]
    y += PANEL_TITLE
    for bar in panel.bars:
        parts += draw_bar(bar, y, scale)
        y += BAR + GAP
    return parts, y


def write_chart(path, title, panels):
    parts = [text(MARGIN, 26, title, "title")]
    y = TITLE
    for panel in panels:
        drawn, y = draw_panel(panel, y)
        parts += drawn
    height = y + MARGIN
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}">',
        f"<title>{escape(title)}</title>", f"<style>{STYLE}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{height}"/>', *parts, "</svg>", ""]), encoding="utf-8")
