"""The DuckDB database: schema, migrations, typed reads and writes."""
