"""How every board and panel looks: one place for the datasource, the variables, the marks and the links."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as common_model
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import prometheus as prometheus_model

P = TypeVar("P", stat.Panel, table.Panel, timeseries.Panel)

ALL = 'job=~"$job",instance=~"$instance"'
"""Label matchers of whatever a process says about itself."""
MODEL = f'{ALL},model=~"$model"'
"""Label matchers of whatever it says about the chosen models."""

SOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
TAG = "tocsin"
BLUE, GREEN, ORANGE, RED = "blue", "green", "orange", "red"
PLACE = ("job", "instance", "namespace", "pod", "container", "service", "endpoint")
"""Labels that say where a process runs; tables leave them out."""
Levels = Mapping[float | None, str]
"""Colours by the value from which they hold; None is the lowest."""
CALM: Levels = {None: GREEN, 1: RED}
"""Anything at all is too much."""


class Query(NamedTuple):
    """One expression, and what to call its series; `{{label}}` is replaced."""

    expr: str
    legend: str = "{{instance}}"


class Link(NamedTuple):
    """Where a table's column leads."""

    title: str
    url: str


TO_INCIDENT = Link("The incident's page, with its evidence", "${tocsin}/incidents/${__data.fields.incident}")


class Row(NamedTuple):
    """Panels under one heading; each has its own width and height."""

    title: str
    panels: Sequence[stat.Panel | table.Panel | timeseries.Panel]


class _Titled(model.AnnotationQuery):
    """An annotation out of Prometheus, which has a title that the SDK does not know."""

    title: str

    def to_json(self) -> dict[str, object]:
        return super().to_json() | {"titleFormat": self.title, "step": "15s"}


class Mark(Builder[model.AnnotationQuery]):
    """A moment on every time axis of a board."""

    def __init__(self, name: str, colour: str, expr: str, title: str) -> None:
        """`expr` has a value while the mark is to be seen; `title` may name labels as `{{label}}`."""
        self._mark = _Titled(name=name, datasource=SOURCE, enable=True, hide=False, icon_color=colour, expr=expr)
        self._mark.title = title

    def build(self) -> model.AnnotationQuery:
        """What a board takes."""
        return self._mark


def appeared(selector: str) -> str:
    """An expression that is there for a minute after a counter has counted; also when its series is new."""
    return f"(increase({selector}[1m]) > 0) or ({selector} unless {selector} offset 1m)"


MARKS = (
    Mark("Incidents", RED, appeared(f"tocsin_incidents_total{{{MODEL}}}"), "{{verdict}}: {{model}}"),
    Mark("Rollbacks", BLUE, appeared(f'tocsin_rollbacks_total{{{MODEL},state="moved"}}'), "{{model}} rolled back"),
    Mark(
        "Deploys",
        GREEN,
        f"tocsin_served_version_info{{{MODEL}}} unless tocsin_served_version_info{{{MODEL}}} offset 1m",
        "{{model}}: version {{version}}",
    ),
)


def lines(
    title: str, why: str, *queries: Query, unit: str = "short", log: bool = False, stack: bool = False, width: int = 12
) -> timeseries.Panel:
    """Values over time."""
    panel = _common(timeseries.Panel(), title, why, queries, unit).span(width).height(8)
    panel.line_width(1).fill_opacity(25 if stack else 5).show_points(common_model.VisibilityMode.NEVER)
    panel.legend(
        common.VizLegendOptions()
        .display_mode(common_model.LegendDisplayMode.LIST)
        .placement(common_model.LegendPlacement.BOTTOM)
        .show_legend(True)
    )
    multi, descending = common_model.TooltipDisplayMode.MULTI, common_model.SortOrder.DESCENDING
    panel.tooltip(common.VizTooltipOptions().mode(multi).sort(descending))
    if log:
        scale = common.ScaleDistributionConfig().type(common_model.ScaleDistribution.LOG).log(10)
        panel.scale_distribution(scale)
    else:
        panel.min(0)
    if stack:
        panel.stacking(common.StackingConfig().mode(common_model.StackingMode.NORMAL).group("A"))
    return panel


def figure(
    title: str,
    why: str,
    query: Query,
    unit: str = "short",
    levels: Levels | None = None,
    *,
    name: bool = False,
    width: int = 4,
) -> stat.Panel:
    """One number as it is now; or, with `name`, what the series is called, for `_info` metrics."""
    panel = _common(stat.Panel(), title, why, (query,), unit, instant=True)
    panel.span(width).height(4).graph_mode(common_model.BigValueGraphMode.NONE)
    panel.color_mode(common_model.BigValueColorMode.VALUE).reduce_options(
        common.ReduceDataOptions().calcs(["lastNotNull"])
    )
    steps = [model.Threshold(value=value, color=colour) for value, colour in (levels or {None: BLUE}).items()]
    panel.thresholds(dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps))
    panel.color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.THRESHOLDS))
    if name:
        panel.text_mode(common_model.BigValueTextMode.NAME)
    return panel


def listing(
    title: str,
    why: str,
    columns: Mapping[str, Query],
    *,
    unit: str = "short",
    links: Sequence[Link] = (),
    width: int = 24,
) -> table.Panel:
    """A table: one row for each set of labels that the legends name, one column of values for each query.

    Args:
        title: of the panel.
        why: what it shows.
        columns: a query for each column; its legend lists the labels that are shown, separated by commas.
        unit: of all values. Units by column would be overrides, which the published schema of dashboards refuses.
        links: where every cell leads.
        width: in columns, of 24.
    """
    queries = tuple(columns.values())
    panel = _common(table.Panel(), title, why, queries, unit, instant=True).span(width).height(8)
    panel.filterable(True)
    values = [f"Value #{chr(ord('A') + place)}" for place in range(len(queries))] if len(queries) > 1 else ["Value"]
    shown = [label for label in queries[0].legend.split(",") if label]
    if len(queries) > 1:
        panel.with_transformation(model.DataTransformerConfig(id_val="merge", options={}))
    order = {
        "excludeByName": dict.fromkeys(("Time", "__name__", *PLACE), True),
        "indexByName": {name: place for place, name in enumerate([*shown, *values])},
        "renameByName": dict(zip(values, columns, strict=True)),
    }
    panel.with_transformation(model.DataTransformerConfig(id_val="organize", options=order))
    made = [dashboard.DashboardLink(link.title).type(model.DashboardLinkType.LINK).url(link.url) for link in links]
    return panel.data_links([*made]) if made else panel


def assemble(uid: str, title: str, why: str, rows: Sequence[Row], *, one_model: bool = False) -> model.Dashboard:
    """A whole board; `one_model` is for boards about a single model."""
    made = dashboard.Dashboard(f"Tocsin / {title}").uid(uid).description(why).tags([TAG]).timezone("browser")
    made.readonly().refresh("30s").time("now-6h", "now").tooltip(model.DashboardCursorSync.CROSSHAIR)
    made.variables(_variables(one_model=one_model)).links(_links())
    made.annotations(list(MARKS))
    number = 0
    for row in rows:
        made.with_row(dashboard.Row(row.title).id(number := number + 1))
        for panel in row.panels:
            made.with_panel(panel.id(number := number + 1))
    return made.build()


def _common(panel: P, title: str, why: str, queries: Sequence[Query], unit: str, *, instant: bool = False) -> P:
    panel.title(title).description(why).datasource(SOURCE).unit(unit)
    for place, query in enumerate(queries):
        target = prometheus.Dataquery().expr(query.expr).ref_id(chr(ord("A") + place)).datasource(SOURCE)
        if isinstance(panel, table.Panel):
            target.format(prometheus_model.PromQueryFormat.TABLE)
        else:
            target.legend_format(query.legend)
        panel.with_target(target.instant() if instant else target.range())
    return panel


def _variables(*, one_model: bool) -> list[Builder[model.VariableModel]]:
    source = dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus")
    found: list[Builder[model.VariableModel]] = [source]
    for name, label, query in (
        ("job", "Job", "label_values(tocsin_build_info, job)"),
        ("instance", "Instance", 'label_values(tocsin_build_info{job=~"$job"}, instance)'),
        ("model", "Model", f"label_values(tocsin_events_total{{{ALL}}}, model)"),
    ):
        variable = dashboard.QueryVariable(name).label(label).query(query).datasource(SOURCE)
        variable.refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(model.VariableSort.ALPHABETICAL_ASC)
        if name != "model" or not one_model:
            every = model.VariableOption(selected=True, text="All", value="$__all")
            variable.multi(True).include_all(True).all_value(".*").current(every)
        found.append(variable)
    address = dashboard.TextBoxVariable("tocsin").label("Tocsin's address")
    return [*found, address.default_value("http://127.0.0.1:9464")]


def _links() -> list[Builder[model.DashboardLink]]:
    boards = dashboard.DashboardLink("Boards").type(model.DashboardLinkType.DASHBOARDS).tags([TAG])
    incidents = dashboard.DashboardLink("Open incidents").type(model.DashboardLinkType.LINK)
    return [
        boards.as_dropdown(True).include_vars(True).keep_time(True),
        incidents.url("${tocsin}/api/v1/incidents?open_only=true").target_blank(True).icon("external link"),
    ]
