"""The database of a folder of results: its tables, and how it is opened."""

from headclip_med.pipelines.service.database.opening import Database, open_database

__all__ = ["Database", "open_database"]
