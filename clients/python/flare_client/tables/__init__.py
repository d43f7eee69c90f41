"""Tables on their way to the services and back. pandas and pyarrow are imported when a table needs them."""
