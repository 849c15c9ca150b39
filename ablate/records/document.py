"""Plain data with string keys, ready for JSON."""

from typing import Any

Document = dict[str, Any]
