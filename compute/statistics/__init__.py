"""The load of hosts and instances over time: measured by the watcher, kept in few rows, read for charts.

Three levels. Each *sample* of a host is one row with the values of the host and of every instance on it
(``packing``). When an hour is over its samples become averages by the *minute*, one row for each series and
hour; when a day is over these become averages by the *half-hour*, one row for each series and day
(``rolling``). A series is a host, or an instance on a host, so that an instance which moves takes its past
along. ``reading`` puts the levels together again.
"""
