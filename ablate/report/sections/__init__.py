"""The content of each section of the page: pictures and tables from `ReportData`, or None if there is nothing."""
