"""Work that must not be lost: a durable queue, intake, execution, delivery, and what is seen of it.

The parts meet only in the database: intake puts series into it, execution turns jobs into results,
delivery sends results, the page reads all of it.
"""
