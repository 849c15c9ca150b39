"""The content of each section of the page: pictures and tables from `ReportData`, or None if there is nothing."""

from typing import Any

Content = dict[str, Any]
"""What a section's template, `templates/sections/NAME.html.j2`, gets as `c`."""
