"""What each section of the page holds: pictures and tables from `ReportData`, or None where there is nothing."""
