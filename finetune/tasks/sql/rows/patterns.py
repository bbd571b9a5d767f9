"""Every kind of question, by name."""

from collections.abc import Callable

from finetune.tasks.sql.rows import aggregates, filters, groups, having, join_groups, joins, orders, subqueries
from finetune.tasks.sql.rows.database import Database
from finetune.tasks.sql.rows.query import Query
from finetune.tasks.sql.rows.wording import Voice

# A pattern asks one question of the database in the given voice. It raises Unsuitable where it cannot;
# whether the query finds something is checked afterwards.
Pattern = Callable[[Database, Voice], Query]

PATTERNS: dict[str, Pattern] = {
    "filter_equal": filters.filter_equal,
    "filter_not_equal": filters.filter_not_equal,
    "filter_compare": filters.filter_compare,
    "filter_flag": filters.filter_flag,
    "filter_between": filters.filter_between,
    "filter_in": filters.filter_in,
    "filter_like": filters.filter_like,
    "filter_null": filters.filter_null,
    "filter_date": filters.filter_date,
    "filter_and": filters.filter_and,
    "filter_or": filters.filter_or,
    "select_all": filters.select_all,
    "distinct_values": filters.distinct_values,
    "order_by": orders.order_by,
    "order_by_two": orders.order_by_two,
    "top_n": orders.top_n,
    "best_one": orders.best_one,
    "nth_best": orders.nth_best,
    "count_rows": aggregates.count_rows,
    "count_distinct": aggregates.count_distinct,
    "aggregate_all": aggregates.aggregate_all,
    "aggregate_filter": aggregates.aggregate_filter,
    "aggregate_two": aggregates.aggregate_two,
    "group_count": groups.group_count,
    "group_aggregate": groups.group_aggregate,
    "group_by_two": groups.group_by_two,
    "group_by_date": groups.group_by_date,
    "group_order": groups.group_order,
    "group_top": groups.group_top,
    "group_having_count": having.group_having_count,
    "group_having_value": having.group_having_value,
    "join_filter": joins.join_filter,
    "join_columns": joins.join_columns,
    "join_aggregate": joins.join_aggregate,
    "join_three": joins.join_three,
    "join_group": join_groups.join_group,
    "join_group_category": join_groups.join_group_category,
    "join_having": join_groups.join_having,
    "join_top": join_groups.join_top,
    "left_join_count": join_groups.left_join_count,
    "beside_average": subqueries.beside_average,
    "beside_named": subqueries.beside_named,
    "at_extreme": subqueries.at_extreme,
    "with_children": subqueries.with_children,
    "without_children": subqueries.without_children,
}
